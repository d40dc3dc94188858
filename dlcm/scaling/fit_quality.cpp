// What a fit is judged by (fit.h): its errors over curves, the noise of seeds, the error of what it has not seen.
#include "dlcm/scaling/fit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

namespace dlcm {
namespace {

// Seeds of one configuration have tokens that differ by less than this share.
constexpr double kSameTokens = 0.01;
// Runs from which on their mean error at one number of tokens is what they share, more than their own.
constexpr size_t kFewestThatShare = 5;

bool same_configuration(const RunScale& a, const RunScale& b) {
  return a.baseline == b.baseline && a.parameters == b.parameters && a.backbone_share == b.backbone_share &&
         a.ratio == b.ratio;
}

}  // namespace

FitQuality quality_of(const ScalingLaw& law, const std::vector<Trajectory>& runs) {
  double mean = 0.0, count = 0.0, errors = 0.0, spread = 0.0;
  for (const auto& run : runs) {
    for (const auto& point : run.points) {
      mean += point.loss;
      ++count;
    }
  }
  mean /= count;
  FitQuality quality;
  std::map<std::pair<int64_t, double>, std::vector<double>> errors_by_documents;
  for (const auto& run : runs) {
    for (const auto& point : run.points) {
      const double error = law.loss(run.scale, point.tokens) - point.loss;
      errors += error * error;
      spread += (point.loss - mean) * (point.loss - mean);
      quality.largest_error = std::max(quality.largest_error, std::abs(error));
      quality.mean_error += std::abs(error) / count;
      errors_by_documents[{run.seed, point.tokens}].push_back(error);
    }
  }
  for (const auto& [documents, of_runs] : errors_by_documents) {
    if (of_runs.size() < kFewestThatShare) continue;
    const double shared = std::accumulate(of_runs.begin(), of_runs.end(), 0.0) / static_cast<double>(of_runs.size());
    for (const double error : of_runs) {
      quality.largest_error_between_runs =
          std::max(quality.largest_error_between_runs.value_or(0.0), std::abs(error - shared));
    }
  }
  quality.r_squared = 1.0 - errors / spread;
  return quality;
}

std::vector<std::vector<size_t>> configurations_of(const std::vector<Trajectory>& runs) {
  std::vector<std::vector<size_t>> configurations;
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto found = std::find_if(configurations.begin(), configurations.end(), [&](const auto& members) {
      return same_configuration(runs[members.front()].scale, runs[i].scale);
    });
    if (found == configurations.end()) {
      configurations.push_back({i});
    } else {
      found->push_back(i);
    }
  }
  return configurations;
}

std::optional<double> root_mean_square_error(const std::vector<LeftOut>& predictions) {
  if (predictions.empty()) return std::nullopt;
  double sum = 0.0;
  for (const auto& prediction : predictions) {
    const double error = prediction.predicted - prediction.measured;
    sum += error * error;
  }
  return std::sqrt(sum / static_cast<double>(predictions.size()));
}

std::optional<SeedNoise> seed_noise(const std::vector<Trajectory>& runs) {
  SeedNoise noise;
  double squares = 0.0;
  for (auto& members : configurations_of(runs)) {
    const auto tokens_of = [&](size_t run) { return runs[run].stable.tokens; };
    std::sort(members.begin(), members.end(), [&](size_t a, size_t b) { return tokens_of(a) < tokens_of(b); });
    // Each group: those of as many tokens as its first.
    for (auto first = members.begin(); first != members.end();) {
      const auto last = std::find_if(
          first, members.end(), [&](size_t run) { return tokens_of(run) > tokens_of(*first) * (1.0 + kSameTokens); });
      const auto count = static_cast<double>(last - first);
      double mean = 0.0;
      for (auto run = first; run != last; ++run) mean += runs[*run].stable.loss / count;
      for (auto run = first; run != last; ++run) squares += std::pow(runs[*run].stable.loss - mean, 2);
      noise.freedom += last - first - 1;
      first = last;
    }
  }
  if (noise.freedom == 0) return std::nullopt;
  noise.deviation = std::sqrt(squares / static_cast<double>(noise.freedom));
  return noise;
}

}  // namespace dlcm
