// The file that `dlcm fit` writes and `dlcm plan` reads: the laws, how far to trust them, and what they were fitted to.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/scaling/decay.h"
#include "dlcm/scaling/fit.h"
#include "dlcm/scaling/trajectories.h"

#include <nlohmann/json_fwd.hpp>

#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace dlcm {

// The smallest and the largest of what the runs had: a plan beyond them extrapolates. Empty until something is added.
struct FittedRange {
  double least = std::numeric_limits<double>::infinity(), most = -std::numeric_limits<double>::infinity();

  void add(double value);
  // Up to rounding.
  bool holds(double value) const;
};

struct FitFile {
  LossKind loss = LossKind::training;
  ScalingLaw law;
  std::vector<ScalingLaw> bootstrap;
  std::vector<std::string> at_bounds;  // parameters at a bound of the search
  FitQuality quality;
  std::vector<LeftOut> left_out;
  // The same without P and R, of the same runs, to be held against.
  FitQuality plain_quality;
  std::optional<double> plain_left_out_error;  // root mean square, nats; none without any configuration left out
  std::optional<SeedNoise> seed_noise;
  std::optional<DecayLaw> decay;
  int64_t decays_without_gain = 0;  // finished ones that the decay law does not count
  int64_t runs = 0, points = 0, baseline_runs = 0;
  FittedRange parameters, tokens, share, ratio;      // of the DLCM runs
  FittedRange baseline_parameters, baseline_tokens;  // of the baseline runs
  Config config;                                     // of the largest DLCM run
  std::optional<Config> baseline_config;             // of the largest baseline run

  std::optional<double> left_out_error() const { return root_mean_square_error(left_out); }
};

struct FitRequest {
  LossKind loss = LossKind::training;
  int64_t starts = 64;
  int64_t samples = 200;
  uint64_t seed = 1;
};

// Fits everything that FitFile holds; shows progress. Throws Error as fit_law, bootstrap_laws and fit_decay do, and
// where runs have other vocabularies or contexts, or a DLCM has no backbone or a rule that follows no ratio.
FitFile fit_curves(const std::vector<RunCurve>& curves, const FitRequest& request);

nlohmann::ordered_json to_json(const FitFile& fit);
// Throws Error where the file is not there, is no JSON, or lacks something.
FitFile load_fit(const std::string& path);

// Nats, to four places; "none" where there is no such number.
std::string number_or_none(const std::optional<double>& error);

// The law's parameters with their intervals, and the numbers above, for a terminal.
std::string fit_text(const FitFile& fit);

}  // namespace dlcm
