// Warm-up, stable, decay (WSD): the factor on every peak learning rate.
#pragma once

#include "dlcm/config/config.h"

#include <cstdint>

namespace dlcm {

// First step (from 0) of the linear decay.
int64_t decay_start(const Config& config);

// Factor in [0, 1] for step `step` (from 0): linear warm-up, 1, then linear to schedule.final_fraction at the last
// step.
double schedule_factor(const Config& config, int64_t step);

}  // namespace dlcm
