#include "dlcm/train/run_state.h"

#include "dlcm/util/error.h"

namespace dlcm {

nlohmann::json to_json(const RunState& state, const Config& config, const std::string& data_hash,
                       const nlohmann::json& epochs) {
  return {{"tokens", state.step * config.train.tokens_per_step},
          {"data_position", state.step * config.train.tokens_per_step},
          {"epochs", epochs},
          {"seconds", state.seconds},
          {"seed", config.train.seed},
          {"data_hash", data_hash},
          {"running_threshold", state.running_threshold},
          {"calibrations", state.calibrations},
          {"skipped_steps", state.skipped_steps},
          {"skipped_in_a_row", state.skipped_in_a_row},
          {"boundary_quantiles", state.boundary_quantiles},
          {"source_ratios", state.source_ratios}};
}

RunState run_state_of(const Checkpoint& checkpoint) {
  try {
    const auto& trainer = checkpoint.trainer;
    return {.step = checkpoint.step,
            .seconds = trainer.at("seconds").get<double>(),
            .running_threshold = trainer.at("running_threshold").get<double>(),
            .calibrations = trainer.at("calibrations").get<int64_t>(),
            .skipped_steps = trainer.at("skipped_steps").get<int64_t>(),
            .skipped_in_a_row = trainer.at("skipped_in_a_row").get<int64_t>(),
            .boundary_quantiles = trainer.at("boundary_quantiles").get<std::vector<double>>(),
            // Checkpoints from before the ranks shared the windows do not have it.
            .source_ratios = trainer.value("source_ratios", std::vector<double>())};
  } catch (const nlohmann::json::exception& error) {
    throw Error(
        "the checkpoint of step {} lacks what a training needs to go on ({}): another version of dlcm wrote it; "
        "resume with that version, or start a new run",
        checkpoint.step, error.what());
  }
}

}  // namespace dlcm
