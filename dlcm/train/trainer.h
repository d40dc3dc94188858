// A training run: from a data directory and a configuration to checkpoints and metrics in a run directory.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/dist/communicator.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace dlcm {

struct TrainingRequest {
  Config config;
  std::string data;    // data directory
  std::string output;  // run directory
  bool resume = false;
  std::optional<std::string> from;  // checkpoint to branch from
};

struct TrainingResult {
  int64_t step = 0;
  int64_t tokens = 0;
  std::optional<int> signal;  // the signal that ended the run early, after a save
};

// Trains to config.train.steps, saving, validating and logging on the way. SIGINT and SIGTERM end it after the running
// step and a save. Throws Error for wrong input (before anything is changed) and RuntimeFailure where the disk is full
// or too many steps in a row were not finite. Every rank of the communicator calls it; rank 0 writes what is not the
// others' own state, and ranks that would not train the same are refused.
TrainingResult train(const TrainingRequest& request, Communicator& communicator);

// Parameters, FLOPs, memory and a time estimate from a few steps on the data, which touch nothing on disk: the object
// that `train --dry-run --json` prints. Where the machine's memory does not hold the model, the time is an estimate
// from FLOPs and the machine's peak, and "measured" is false.
// Every rank of the communicator calls it and gets its own.
nlohmann::json dry_run(const TrainingRequest& request, Communicator& communicator);
// The same for people.
std::string dry_run_table(const nlohmann::json& estimate);

}  // namespace dlcm
