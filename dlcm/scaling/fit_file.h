// The file that `dlcm fit` writes and `dlcm plan` reads: the laws, how far to trust them, and what they were fitted to.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/scaling/decay.h"
#include "dlcm/scaling/fit.h"
#include "dlcm/scaling/trajectories.h"

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

namespace dlcm {

// The smallest and the largest of what the runs had: a plan beyond them extrapolates.
struct FittedRange {
  double least = 0.0, most = 0.0;
};

struct FitFile {
  LossKind loss = LossKind::training;
  ScalingLaw law;
  std::vector<ScalingLaw> bootstrap;
  FitQuality quality;
  std::vector<LeftOut> left_out;
  // The same without P and R, to be held against.
  FitQuality plain_quality;
  double plain_left_out_error = 0.0;  // root mean square, nats
  std::optional<double> seed_noise;   // nats
  std::optional<DecayLaw> decay;
  int64_t runs = 0, points = 0, baseline_runs = 0;
  FittedRange parameters, tokens, share, ratio;  // of the DLCM runs
  Config config;                                 // of the largest DLCM run
  std::optional<Config> baseline_config;         // of the largest baseline run

  double left_out_error() const { return root_mean_square_error(left_out); }
};

struct FitRequest {
  LossKind loss = LossKind::training;
  int64_t starts = 64;
  int64_t samples = 200;
  uint64_t seed = 1;
};

// Fits everything that FitFile holds; shows progress. Throws Error as fit_law does.
FitFile fit_curves(const std::vector<RunCurve>& curves, const FitRequest& request);

nlohmann::ordered_json to_json(const FitFile& fit);
// Throws Error where the file is not there, is no JSON, or lacks something.
FitFile load_fit(const std::string& path);

// The law's parameters with their intervals, and the numbers above, for a terminal.
std::string fit_text(const FitFile& fit);

}  // namespace dlcm
