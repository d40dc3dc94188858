// What every rank must agree on before the first step, so that a wrong input ends all of them with one sentence.
#pragma once

#include "dlcm/dist/communicator.h"
#include "dlcm/util/error.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace dlcm {

// An error that every rank has thrown at the same place: rank 0 alone reports it, and all leave in peace.
class AgreedError final : public Error {
 public:
  AgreedError(int exit_status, const std::string& message) : Error("{}", message), exit_status_(exit_status) {}
  int exit_status() const override { return exit_status_; }

 private:
  int exit_status_;
};

// Calls `work` on every rank. Where it throws an Error on any of them, throws AgreedError on all, with the message of
// the first of them, and its name in front unless it is rank 0. On a single rank the error goes through as it is.
void on_every_rank(Communicator& communicator, const std::function<void()>& work);

// Names and values that must be the same on every rank. Throws Error on all where a rank has another value than rank 0,
// naming rank, host and both values.
using NamedValues = std::vector<std::pair<std::string, std::string>>;
void require_equal(Communicator& communicator, const NamedValues& values);

}  // namespace dlcm
