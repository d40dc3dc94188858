// Errors that a user reads. Thrown anywhere, caught in cli/main.cpp only.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace dlcm {

// The user's input is wrong and nothing was changed: exit status 2.
// The message is one sentence: what was expected, what was found, where, and what to do.
class Error : public std::runtime_error {
 public:
  template <typename... Arguments>
  explicit Error(fmt::format_string<Arguments...> text, Arguments&&... arguments)
      : std::runtime_error(fmt::format(text, std::forward<Arguments>(arguments)...)) {}
  virtual int exit_status() const { return 2; }
};

// The machine failed (disk full, unreadable file, diverged training): exit status 1.
class RuntimeFailure : public Error {
 public:
  using Error::Error;
  int exit_status() const override { return 1; }
};

}  // namespace dlcm
