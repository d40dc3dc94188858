#include "dlcm/train/resume.h"

#include "dlcm/train/schedule.h"
#include "dlcm/util/error.h"

#include <string>

namespace dlcm {
namespace {

bool starts_with(const std::string& key, std::string_view prefix) { return key.rfind(prefix, 0) == 0; }

bool always_free(const std::string& key, const Config& stored) {
  return starts_with(key, "eval.") || starts_with(key, "checkpoint.") || starts_with(key, "dist.") ||
         key == "data.path" || key == "train.threads" || key == "train.workers" ||
         key == "train.activation_checkpointing" || key == "train.log_every_steps" ||
         (key == "parser.threshold" && stored.parser.calibrate);
}

bool free_before_decay(const std::string& key) {
  return key == "train.steps" || key == "schedule.decay_fraction" || key == "schedule.final_fraction";
}

}  // namespace

void check_resume(const Config& stored, const Config& asked, int64_t step) {
  const bool decay_begun = step > decay_start(stored) || step > decay_start(asked);
  const auto before = config_entries(stored), after = config_entries(asked);
  std::string refused, decayed;
  for (size_t i = 0; i < before.size(); ++i) {
    const auto& key = before[i].key;
    if (before[i].value == after[i].value || always_free(key, stored)) continue;
    const auto change = fmt::format("{} ({} before, {} now)", key, before[i].value, after[i].value);
    if (!free_before_decay(key)) {
      refused += (refused.empty() ? "" : ", ") + change;
    } else if (decay_begun) {
      decayed += (decayed.empty() ? "" : ", ") + change;
    }
  }
  if (!refused.empty()) {
    throw Error(
        "--resume goes on with the run's own configuration, but these keys changed: {}; undo them, or start a "
        "new run with --from",
        refused);
  }
  if (!decayed.empty()) {
    throw Error(
        "--resume cannot change {}: at step {} the learning rate's decay has begun in the old or the new "
        "schedule; start a new run with --from an earlier checkpoint",
        decayed, step);
  }
}

}  // namespace dlcm
