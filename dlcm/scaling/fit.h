// Fits the scaling law to whole loss trajectories, and says how far to trust it.
//
// Least squares on log loss with Ceres: positive parameters (their logarithms are what is searched), Huber's robust
// loss, every run weighing the same and its late points more than its early ones, the best of many random starts.
#pragma once

#include "dlcm/scaling/law.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dlcm {

// A point of a run's loss curve at the stable learning rate.
struct LossPoint {
  double tokens = 0.0;
  double loss = 0.0;  // nats per token
};

struct Trajectory {
  std::string name;
  RunScale scale;
  std::vector<LossPoint> points;     // rising tokens: warm-up and decay left out
  LossPoint stable;                  // mean over the last tenth of the points' tokens, at its mean place
  std::optional<double> final_loss;  // at the end of a finished decay
  double decay_fraction = 0.0;       // of all steps, in the decay
  int64_t seed = 0;                  // of the training; runs of one seed read the same documents
};

struct FitSettings {
  LawForm form = LawForm::joint;
  int64_t starts = 64;
  uint64_t seed = 1;
};

// Throws Error where there are too few runs or points: 2 or more sizes and, for the joint form, 2 or more shares and
// ratios; at least one DLCM run.
ScalingLaw fit_law(const std::vector<Trajectory>& runs, const FitSettings& settings);

// The parameters of a law fitted to `runs` that ended at a bound of the search, by name: the runs do not say what they
// are.
std::vector<std::string> parameters_at_bounds(const ScalingLaw& law, const std::vector<Trajectory>& runs);

// How a law stands to the points it was fitted to.
struct FitQuality {
  double r_squared = 0.0;      // 1 - (sum of squared errors) / (sum of squares about the mean), over all points
  double largest_error = 0.0;  // the largest |error| of any point, nats
  double mean_error = 0.0;     // mean |error|, nats
  // The largest |error| once the mean error of all runs of one seed at one number of tokens is taken out of each: the
  // noise of the documents, which these runs share, and what the law's term in tokens misses in all of them alike. Of
  // groups of 5 runs or more; none without such.
  std::optional<double> largest_error_between_runs;
};
FitQuality quality_of(const ScalingLaw& law, const std::vector<Trajectory>& runs);

// Laws of runs drawn with replacement, for percentile intervals. Whole configurations are drawn, since the points of
// one curve, and the seeds of one configuration, do not err independently. A draw that cannot tell the law's terms
// apart is drawn again. Throws Error where nearly all are such.
std::vector<ScalingLaw> bootstrap_laws(const std::vector<Trajectory>& runs, const ScalingLaw& law, int64_t samples,
                                       const FitSettings& settings);

// What a law fitted without a configuration says of that configuration's last stable loss.
struct LeftOut {
  RunScale scale;
  double tokens = 0.0;
  double measured = 0.0;  // mean over the configuration's seeds
  double predicted = 0.0;
};
// One entry a DLCM configuration, but for those without which the others no longer have 2 sizes, 2 shares and 2 ratios:
// what the law says of them would come from the law they were in. Both forms leave out the same ones.
std::vector<LeftOut> left_out_predictions(const std::vector<Trajectory>& runs, const ScalingLaw& law,
                                          const FitSettings& settings);
// None without predictions.
std::optional<double> root_mean_square_error(const std::vector<LeftOut>& predictions);

struct SeedNoise {
  double deviation = 0.0;  // nats
  int64_t freedom = 0;     // degrees of it: runs less their means
};
// Standard deviation of the last stable loss over seeds of one configuration trained for as long, within 1 % of the
// tokens; pooled. None without repeated seeds.
std::optional<SeedNoise> seed_noise(const std::vector<Trajectory>& runs);

// Runs of one configuration, by index; DLCM and baseline runs alike, in the order of their first run.
std::vector<std::vector<size_t>> configurations_of(const std::vector<Trajectory>& runs);

}  // namespace dlcm
