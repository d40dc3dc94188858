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

// Share of the tokens up to the decay, at their end, over which Trajectory::stable is the mean.
inline constexpr double kStableShare = 0.1;

// The curve of a run directory: RUN/metrics.jsonl with the configuration of the newest complete checkpoint or, where
// there is none, of RUN/config.toml (which a sweep writes before the run, and a resume may outdate). Training losses
// are means over stretches of equal ratio of tokens, of 16 losses or more each; validation losses are taken as they
// are. Throws Error where the run cannot be read, has no resolved vocabulary, a loss that no training logs, losses
// beyond train.steps, or too few losses between warm-up and decay.
RunCurve read_curve(const std::string& run, LossKind kind);

}  // namespace dlcm
