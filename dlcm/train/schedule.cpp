#include "dlcm/train/schedule.h"

#include <algorithm>
#include <cmath>

namespace dlcm {

int64_t decay_start(const Config& config) {
  const auto decay_steps = std::llround(config.schedule.decay_fraction * static_cast<double>(config.train.steps));
  return config.train.steps - decay_steps;
}

double schedule_factor(const Config& config, int64_t step) {
  const auto& schedule = config.schedule;
  const double warmup = schedule.warmup_steps == 0
                            ? 1.0
                            : std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(schedule.warmup_steps));
  const int64_t start = decay_start(config);
  if (step < start) return warmup;
  const double progress =
      std::min(1.0, static_cast<double>(step - start + 1) / static_cast<double>(config.train.steps - start));
  return std::min(warmup, 1.0 - (1.0 - schedule.final_fraction) * progress);
}

}  // namespace dlcm
