// Loss curves of training runs, ready for the fit: warm-up and decay left out, noise averaged.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/scaling/fit.h"

#include <string>
#include <vector>

namespace dlcm {

enum class LossKind { training, validation };

struct RunCurve {
  Trajectory trajectory;
  Config config;
};

// The curve of a run directory: RUN/metrics.jsonl with the configuration of RUN/config.toml (which a sweep writes) or
// of the newest complete checkpoint. Training losses are means over stretches of equal ratio of tokens, of 16 losses or
// more each; validation losses are taken as they are. Throws Error where the run cannot be read, has no resolved
// vocabulary, or too few losses between warm-up and decay.
RunCurve read_curve(const std::string& run, LossKind kind);

}  // namespace dlcm
