// What changes while training besides weights and moments; a checkpoint's trainer.json holds it.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/io/checkpoint_store.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace dlcm {

struct RunState {
  int64_t step = 0;
  double seconds = 0.0;            // of all sessions of the run
  double running_threshold = 0.5;  // running estimate of the (1 - 1/R) quantile of p
  int64_t calibrations = 0;        // steps that have moved it
  int64_t skipped_steps = 0;       // in all
  int64_t skipped_in_a_row = 0;
  std::vector<double> boundary_quantiles;  // of p in the last validation: 0 %, 1 %, ... 100 %
  std::vector<double> source_ratios;       // tokens per concept of each source in the last step that read it
};

nlohmann::json to_json(const RunState& state, const Config& config, const std::string& data_hash,
                       const nlohmann::json& epochs);
// Throws Error where another version of dlcm wrote the checkpoint.
RunState run_state_of(const Checkpoint& checkpoint);

}  // namespace dlcm
