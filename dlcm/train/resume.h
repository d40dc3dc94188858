// What a resumed training may change.
#pragma once

#include "dlcm/config/config.h"

#include <cstdint>

namespace dlcm {

// Throws Error naming every key whose change would make the resumed run another run: all but train.steps,
// schedule.decay_fraction and schedule.final_fraction before the decay has begun (in the old and in the new schedule),
// eval.*, checkpoint.*, dist.*, data.path (the data are known by their content), train.threads, train.workers,
// train.activation_checkpointing and train.log_every_steps. `stored` is the checkpoint's configuration, after `step`
// steps; `asked` is the new one, with vocabulary and precision resolved. The calibrated threshold is state, not a
// setting, where parser.calibrate is on.
void check_resume(const Config& stored, const Config& asked, int64_t step);

}  // namespace dlcm
