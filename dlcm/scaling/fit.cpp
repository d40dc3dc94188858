// Ceres' headers define logging macros that LibTorch defines too: this file includes nothing of LibTorch.
#include "dlcm/scaling/fit.h"

#include "dlcm/util/error.h"

#include <ceres/ceres.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <set>

namespace dlcm {
namespace {

// Errors of log loss beyond this count linearly.
constexpr double kHuber = 0.01;
// Starts of a refit near a known optimum, besides the optimum itself.
constexpr int64_t kRefitStarts = 2;
constexpr int kMostIterations = 400;
// Draws for one law of the bootstrap, at most.
constexpr int kMostDraws = 1000;

// The search space: for each term the logarithms of its value at a typical size, of offset / typical size and of the
// exponent, so that all are of order one and nearly independent. In the order of ScalingLaw::fields.
enum Coordinate : int {
  kIrreducible,
  kTokenValue,
  kTokenOffset,
  kTokenExponent,
  kConceptValue,
  kRatioExponent,
  kConceptOffset,
  kConceptExponent,
  kDataValue,
  kDataOffset,
  kDataExponent,
  kBaselineValue,
  kBaselineOffset,
  kBaselineExponent,
  kCoordinates
};
static_assert(kCoordinates == kLawParameters);
using Coordinates = std::array<double, kCoordinates>;

struct Typical {
  double token = 1.0, concepts = 1.0, baseline = 1.0, tokens = 1.0, ratio = 1.0;
  double smallest_loss = 0.0;
};

double token_size(const RunScale& run, LawForm form) {
  return form == LawForm::joint ? run.parameters * (1.0 - run.backbone_share) : run.parameters;
}

double geometric_mean(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += std::log(value);
  return values.empty() ? 1.0 : std::exp(sum / static_cast<double>(values.size()));
}

Typical typical_of(const std::vector<Trajectory>& runs, LawForm form) {
  std::vector<double> token, concepts, baseline, tokens, ratio;
  Typical typical;
  typical.smallest_loss = std::numeric_limits<double>::infinity();
  for (const auto& run : runs) {
    if (run.scale.baseline) {
      baseline.push_back(run.scale.parameters);
    } else {
      token.push_back(token_size(run.scale, form));
      concepts.push_back(run.scale.parameters * run.scale.backbone_share);
      ratio.push_back(run.scale.ratio);
    }
    tokens.push_back(run.points.back().tokens);
    for (const auto& point : run.points) typical.smallest_loss = std::min(typical.smallest_loss, point.loss);
  }
  typical.token = geometric_mean(token);
  typical.concepts = form == LawForm::joint ? geometric_mean(concepts) : 1.0;
  typical.baseline = geometric_mean(baseline);
  typical.tokens = geometric_mean(tokens);
  typical.ratio = geometric_mean(ratio);
  return typical;
}

PowerTerm term_of(const Coordinates& x, int value, double size) {
  const double exponent = std::exp(x[value + 2]);
  return {std::exp(x[value]) * std::pow(size, exponent), std::exp(x[value + 1]) * size, exponent};
}

ScalingLaw law_of(const Coordinates& x, const Typical& typical, LawForm form, bool has_baseline) {
  ScalingLaw law;
  law.form = form;
  law.irreducible = std::exp(x[kIrreducible]);
  law.token = term_of(x, kTokenValue, typical.token);
  law.data = term_of(x, kDataValue, typical.tokens);
  if (form == LawForm::joint) {
    const double exponent = std::exp(x[kConceptExponent]), gamma = std::exp(x[kRatioExponent]);
    law.ratio_exponent = gamma;
    law.concepts = {std::exp(x[kConceptValue]) * std::pow(typical.concepts, exponent) / std::pow(typical.ratio, gamma),
                    std::exp(x[kConceptOffset]) * typical.concepts, exponent};
  }
  if (has_baseline) law.baseline = term_of(x, kBaselineValue, typical.baseline);
  return law;
}

void coordinates_of(const PowerTerm& term, int value, double size, Coordinates& x) {
  if (term.scale <= 0.0) return;
  x[value] = std::log(term.scale) - term.exponent * std::log(size);
  x[value + 1] = std::log(term.offset / size);
  x[value + 2] = std::log(term.exponent);
}

Coordinates coordinates_of(const ScalingLaw& law, const Typical& typical) {
  Coordinates x{};
  x[kIrreducible] = std::log(law.irreducible);
  coordinates_of(law.token, kTokenValue, typical.token, x);
  coordinates_of(law.data, kDataValue, typical.tokens, x);
  coordinates_of(law.baseline, kBaselineValue, typical.baseline, x);
  if (law.concepts.scale > 0.0) {
    x[kConceptValue] = std::log(law.concepts.scale) - law.concepts.exponent * std::log(typical.concepts) +
                       law.ratio_exponent * std::log(typical.ratio);
    x[kConceptOffset] = std::log(law.concepts.offset / typical.concepts);
    x[kConceptExponent] = std::log(law.concepts.exponent);
    x[kRatioExponent] = std::log(law.ratio_exponent);
  }
  return x;
}

// Value of one term at `size` and its derivatives by its three coordinates:
//   exp(v) s^d / (size + exp(o) s)^d  with d = exp(e) and s the typical size.
struct TermValue {
  double value, by_value, by_offset, by_exponent;
};
TermValue evaluate(const double* x, double size, double typical) {
  const double exponent = std::exp(x[2]), offset = std::exp(x[1]) * typical;
  const double logarithm = std::log(typical) - std::log(size + offset);
  const double value = std::exp(x[0] + exponent * logarithm);
  return {value, value, -value * exponent * offset / (size + offset), value * exponent * logarithm};
}

// The weighted, robust residuals of one run. Its terms in N, P and R are the same for all its points.
class RunCost final : public ceres::CostFunction {
 public:
  RunCost(const Trajectory& run, const Typical& typical, LawForm form, double weight)
      : run_(run), typical_(typical), form_(form) {
    set_num_residuals(static_cast<int>(run.points.size()));
    mutable_parameter_block_sizes()->push_back(kCoordinates);
    // Later points weigh more, in proportion to their tokens; every run weighs the same in all.
    double sum = 0.0;
    for (const auto& point : run.points) sum += point.tokens;
    for (const auto& point : run.points) root_weights_.push_back(std::sqrt(weight * point.tokens / sum));
  }

  bool Evaluate(double const* const* parameters, double* residuals, double** jacobians) const override {
    const double* x = parameters[0];
    Coordinates by{};  // derivatives of the part that all points share
    const double irreducible = std::exp(x[kIrreducible]);
    by[kIrreducible] = irreducible;
    double shared = irreducible;
    const auto add = [&](int value, const TermValue& term, double factor) {
      shared += factor * term.value;
      by[value] = factor * term.by_value;
      by[value + 1] = factor * term.by_offset;
      by[value + 2] = factor * term.by_exponent;
    };
    const auto& scale = run_.scale;
    if (scale.baseline) {
      add(kBaselineValue, evaluate(x + kBaselineValue, scale.parameters, typical_.baseline), 1.0);
    } else {
      add(kTokenValue, evaluate(x + kTokenValue, token_size(scale, form_), typical_.token), 1.0);
      if (form_ == LawForm::joint) {
        const double logarithm = std::log(scale.ratio / typical_.ratio), gamma = std::exp(x[kRatioExponent]);
        const double factor = std::exp(gamma * logarithm);
        const double offset_and_exponent[3] = {x[kConceptValue], x[kConceptOffset], x[kConceptExponent]};
        const auto term = evaluate(offset_and_exponent, scale.parameters * scale.backbone_share, typical_.concepts);
        shared += factor * term.value;
        by[kConceptValue] = factor * term.by_value;
        by[kConceptOffset] = factor * term.by_offset;
        by[kConceptExponent] = factor * term.by_exponent;
        by[kRatioExponent] = factor * term.value * gamma * logarithm;
      }
    }
    for (size_t i = 0; i < run_.points.size(); ++i) {
      const auto data = evaluate(x + kDataValue, run_.points[i].tokens, typical_.tokens);
      const double loss = shared + data.value;
      const double error = std::log(loss / run_.points[i].loss);
      // Huber: a square root that is linear in the error below kHuber and grows as its root above.
      const double size = std::abs(error);
      const double robust = size <= kHuber ? error : std::copysign(std::sqrt(kHuber * (2.0 * size - kHuber)), error);
      residuals[i] = root_weights_[i] * robust;
      if (!std::isfinite(residuals[i])) return false;
      if (jacobians == nullptr || jacobians[0] == nullptr) continue;
      const double slope = root_weights_[i] * (size <= kHuber ? 1.0 : kHuber / std::abs(robust)) / loss;
      double* row = jacobians[0] + i * kCoordinates;
      for (int k = 0; k < kCoordinates; ++k) row[k] = slope * by[k];
      row[kDataValue] = slope * data.by_value;
      row[kDataOffset] = slope * data.by_offset;
      row[kDataExponent] = slope * data.by_exponent;
    }
    return true;
  }

 private:
  const Trajectory& run_;
  Typical typical_;
  LawForm form_;
  std::vector<double> root_weights_;
};

struct Range {
  double low, high;
};

// What each coordinate may be, and where starts are drawn from.
Range bounds_of(int coordinate, const Typical& typical) {
  switch (coordinate) {
    case kIrreducible:
      return {std::log(1e-4 * typical.smallest_loss), std::log(typical.smallest_loss)};
    case kTokenOffset:
    case kConceptOffset:
    case kDataOffset:
    case kBaselineOffset:
      return {std::log(1e-6), std::log(1e2)};
    case kTokenExponent:
    case kConceptExponent:
    case kDataExponent:
    case kBaselineExponent:
      return {std::log(0.02), std::log(4.0)};
    case kRatioExponent:
      return {std::log(1e-3), std::log(4.0)};
    default:  // values of terms at typical sizes
      return {std::log(1e-8), std::log(1e3)};
  }
}
Range starts_of(int coordinate, const Typical& typical) {
  switch (coordinate) {
    case kIrreducible:
      return {std::log(0.2 * typical.smallest_loss), std::log(0.95 * typical.smallest_loss)};
    case kTokenOffset:
    case kConceptOffset:
    case kDataOffset:
    case kBaselineOffset:
      return {std::log(1e-3), std::log(1.0)};
    case kTokenExponent:
    case kConceptExponent:
    case kDataExponent:
    case kBaselineExponent:
      return {std::log(0.1), std::log(1.2)};
    case kRatioExponent:
      return {std::log(0.03), std::log(1.0)};
    default:
      return {std::log(0.003 * typical.smallest_loss), std::log(typical.smallest_loss)};
  }
}

struct Solution {
  Coordinates x{};
  double cost = std::numeric_limits<double>::infinity();
};

// `weights`: how often each run counts; runs of weight 0 are left out.
Solution solve_from(const Coordinates& start, const std::vector<Trajectory>& runs, const std::vector<double>& weights,
                    const Typical& typical, LawForm form) {
  Solution solution;
  solution.x = start;
  ceres::Problem problem;
  problem.AddParameterBlock(solution.x.data(), kCoordinates);
  for (int k = 0; k < kCoordinates; ++k) {
    const auto bounds = bounds_of(k, typical);
    solution.x[static_cast<size_t>(k)] = std::clamp(solution.x[static_cast<size_t>(k)], bounds.low, bounds.high);
    problem.SetParameterLowerBound(solution.x.data(), k, bounds.low);
    problem.SetParameterUpperBound(solution.x.data(), k, bounds.high);
  }
  for (size_t i = 0; i < runs.size(); ++i) {
    if (weights[i] <= 0.0) continue;
    // The problem takes ownership.
    problem.AddResidualBlock(new RunCost(runs[i], typical, form, weights[i]), nullptr, solution.x.data());
  }
  ceres::Solver::Options options;
  options.linear_solver_type = ceres::DENSE_QR;
  options.max_num_iterations = kMostIterations;
  options.function_tolerance = 1e-10;
  options.parameter_tolerance = 1e-9;
  options.gradient_tolerance = 1e-12;
  options.logging_type = ceres::SILENT;
  ceres::Solver::Summary summary;
  ceres::Solve(options, &problem, &summary);
  if (summary.IsSolutionUsable()) solution.cost = summary.final_cost;
  return solution;
}

Coordinates random_start(std::mt19937_64& random, const Typical& typical) {
  Coordinates x{};
  for (int k = 0; k < kCoordinates; ++k) {
    const auto range = starts_of(k, typical);
    x[static_cast<size_t>(k)] = std::uniform_real_distribution<double>(range.low, range.high)(random);
  }
  return x;
}

bool has_baseline(const std::vector<Trajectory>& runs, const std::vector<double>& weights) {
  for (size_t i = 0; i < runs.size(); ++i) {
    if (runs[i].scale.baseline && weights[i] > 0.0) return true;
  }
  return false;
}

// The best of `starts` random starts and, where given, of one from `near`.
ScalingLaw best_law(const std::vector<Trajectory>& runs, const std::vector<double>& weights, const Typical& typical,
                    const ScalingLaw* near, int64_t starts, std::mt19937_64& random, LawForm form) {
  Solution best;
  if (near != nullptr) best = solve_from(coordinates_of(*near, typical), runs, weights, typical, form);
  for (int64_t i = 0; i < starts; ++i) {
    const auto solution = solve_from(random_start(random, typical), runs, weights, typical, form);
    if (solution.cost < best.cost) best = solution;
  }
  if (!std::isfinite(best.cost)) {
    throw RuntimeFailure("the fit found no finite solution from {} starts: look for losses that are not finite",
                         starts);
  }
  return law_of(best.x, typical, form, has_baseline(runs, weights));
}

// How many values of N, P and R the DLCM runs of weight above 0 have.
struct Variety {
  size_t sizes, shares, ratios;
};
Variety variety_of(const std::vector<Trajectory>& runs, const std::vector<double>& weights) {
  std::set<double> sizes, shares, ratios;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (runs[i].scale.baseline || weights[i] <= 0.0) continue;
    sizes.insert(runs[i].scale.parameters);
    shares.insert(runs[i].scale.backbone_share);
    ratios.insert(runs[i].scale.ratio);
  }
  return {sizes.size(), shares.size(), ratios.size()};
}

bool tells_terms_apart(const std::vector<Trajectory>& runs, const std::vector<double>& weights, LawForm form) {
  const auto variety = variety_of(runs, weights);
  return variety.sizes >= 2 && (form != LawForm::joint || (variety.shares >= 2 && variety.ratios >= 2));
}

void check_runs(const std::vector<Trajectory>& runs, LawForm form) {
  for (const auto& run : runs) {
    if (run.points.empty()) throw Error("the run {} has no loss between warm-up and decay: leave it out", run.name);
  }
  const std::vector<double> weights(runs.size(), 1.0);
  if (tells_terms_apart(runs, weights, form)) return;
  const auto variety = variety_of(runs, weights);
  if (variety.sizes < 2) {
    throw Error("a scaling law needs DLCM runs of at least 2 sizes, found {}: give more runs", variety.sizes);
  }
  throw Error(
      "the joint law needs DLCM runs of at least 2 backbone shares and 2 ratios, found {} and {}: give more runs",
      variety.shares, variety.ratios);
}

}  // namespace

ScalingLaw fit_law(const std::vector<Trajectory>& runs, const FitSettings& settings) {
  check_runs(runs, settings.form);
  std::mt19937_64 random(settings.seed);
  const auto typical = typical_of(runs, settings.form);
  return best_law(runs, std::vector<double>(runs.size(), 1.0), typical, nullptr, settings.starts, random,
                  settings.form);
}

std::vector<std::string> parameters_at_bounds(const ScalingLaw& law, const std::vector<Trajectory>& runs) {
  constexpr double kNear = 1e-3;  // of a logarithm
  const auto typical = typical_of(runs, law.form);
  const auto x = coordinates_of(law, typical);
  std::vector<std::string> names;
  int coordinate = 0;
  ScalingLaw::fields(law, [&](const char* name, double value) {
    const auto bounds = bounds_of(coordinate, typical);
    const double at = x[static_cast<size_t>(coordinate++)];
    // A term that was not fitted is 0.
    if (value > 0.0 && (at < bounds.low + kNear || at > bounds.high - kNear)) names.emplace_back(name);
  });
  return names;
}

std::vector<ScalingLaw> bootstrap_laws(const std::vector<Trajectory>& runs, const ScalingLaw& law, int64_t samples,
                                       const FitSettings& settings) {
  std::mt19937_64 random(settings.seed + 1);
  const auto typical = typical_of(runs, law.form);
  const auto configurations = configurations_of(runs);
  std::vector<ScalingLaw> laws;
  // A draw must say something of every term; a plain transformer's too.
  const auto says_all = [&](const std::vector<double>& weights) {
    return tells_terms_apart(runs, weights, law.form) && (!law.has_baseline() || has_baseline(runs, weights));
  };
  while (static_cast<int64_t>(laws.size()) < samples) {
    std::vector<double> weights;
    int draws = 0;
    do {
      if (draws++ == kMostDraws) {
        throw Error(
            "none of {} draws of {} configurations has 2 sizes, 2 backbone shares and 2 ratios: give more runs, or fit "
            "without intervals (--bootstrap 0)",
            kMostDraws, configurations.size());
      }
      weights.assign(runs.size(), 0.0);
      for (size_t draw = 0; draw < configurations.size(); ++draw) {
        for (const size_t run : configurations[random() % configurations.size()]) weights[run] += 1.0;
      }
    } while (!says_all(weights));
    laws.push_back(best_law(runs, weights, typical, &law, kRefitStarts, random, law.form));
  }
  return laws;
}

std::vector<LeftOut> left_out_predictions(const std::vector<Trajectory>& runs, const ScalingLaw& law,
                                          const FitSettings& settings) {
  std::mt19937_64 random(settings.seed + 2);
  const auto typical = typical_of(runs, law.form);
  std::vector<LeftOut> predictions;
  for (const auto& members : configurations_of(runs)) {
    const auto& scale = runs[members.front()].scale;
    if (scale.baseline) continue;
    std::vector<double> weights(runs.size(), 1.0);
    LeftOut prediction{scale, 0.0, 0.0, 0.0};
    for (const size_t run : members) weights[run] = 0.0;
    if (!tells_terms_apart(runs, weights, LawForm::joint)) continue;
    const auto without = best_law(runs, weights, typical, &law, kRefitStarts, random, law.form);
    for (const size_t run : members) {
      const auto share = 1.0 / static_cast<double>(members.size());
      prediction.tokens += share * runs[run].stable.tokens;
      prediction.measured += share * runs[run].stable.loss;
      prediction.predicted += share * without.loss(scale, runs[run].stable.tokens);
    }
    predictions.push_back(prediction);
  }
  return predictions;
}

}  // namespace dlcm
