#include "dlcm/infer/sampler.h"

#include "dlcm/util/error.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace dlcm {
namespace {

struct Candidate {
  int32_t id;
  double weight;  // probability relative to the most likely token
};

bool more_likely(const Candidate& left, const Candidate& right) {
  return left.weight != right.weight ? left.weight > right.weight : left.id < right.id;
}

double sum_of(const std::vector<Candidate>& candidates) {
  double sum = 0.0;
  for (const auto& candidate : candidates) sum += candidate.weight;
  return sum;
}

void keep_top_k(std::vector<Candidate>& candidates, int64_t k) {
  if (k == 0 || k >= static_cast<int64_t>(candidates.size())) return;
  std::nth_element(candidates.begin(), candidates.begin() + k, candidates.end(), more_likely);
  candidates.resize(static_cast<size_t>(k));
}

void keep_top_p(std::vector<Candidate>& candidates, double p) {
  if (p >= 1.0) return;
  std::sort(candidates.begin(), candidates.end(), more_likely);
  const double enough = p * sum_of(candidates);
  double reached = 0.0;
  size_t kept = 0;
  while (kept < candidates.size() && reached < enough) reached += candidates[kept++].weight;
  candidates.resize(std::max<size_t>(kept, 1));
}

}  // namespace

void check_sampling(const SamplingSettings& settings) {
  if (!std::isfinite(settings.temperature) || settings.temperature < 0.0) {
    throw Error("expected a temperature of 0 or more, found {}", settings.temperature);
  }
  if (settings.top_k < 0) throw Error("expected top-k of 0 (all tokens) or more, found {}", settings.top_k);
  if (!(settings.top_p > 0.0 && settings.top_p <= 1.0)) {
    throw Error("expected top-p above 0 and at most 1, found {}", settings.top_p);
  }
  if (!(settings.min_p >= 0.0 && settings.min_p <= 1.0)) {
    throw Error("expected min-p from 0 to 1, found {}", settings.min_p);
  }
}

int32_t sample(std::span<const float> logits_V, const SamplingSettings& settings, double uniform) {
  size_t best = 0;
  for (size_t id = 0; id < logits_V.size(); ++id) {
    if (std::isnan(logits_V[id])) throw RuntimeFailure("the model gave no number as the logit of token {}", id);
    if (logits_V[id] > logits_V[best]) best = id;
  }
  if (!std::isfinite(logits_V[best])) throw RuntimeFailure("the model gave an infinite logit for token {}", best);
  if (settings.temperature == 0.0) return static_cast<int32_t>(best);

  std::vector<Candidate> candidates(logits_V.size());
  const auto highest = static_cast<double>(logits_V[best]);
  for (size_t id = 0; id < logits_V.size(); ++id) {
    const double below = static_cast<double>(logits_V[id]) - highest;
    candidates[id] = {static_cast<int32_t>(id), std::exp(below / settings.temperature)};
  }
  keep_top_k(candidates, settings.top_k);
  keep_top_p(candidates, settings.top_p);
  std::erase_if(candidates, [&](const Candidate& candidate) { return candidate.weight < settings.min_p; });
  // The draw walks the kept tokens by id, so that a filter which drops nothing changes nothing.
  const auto by_id = [](const Candidate& left, const Candidate& right) { return left.id < right.id; };
  if (!std::is_sorted(candidates.begin(), candidates.end(), by_id)) {
    std::sort(candidates.begin(), candidates.end(), by_id);
  }
  const double drawn = uniform * sum_of(candidates);
  double reached = 0.0;
  for (const auto& candidate : candidates) {
    reached += candidate.weight;
    if (drawn < reached) return candidate.id;
  }
  return static_cast<int32_t>(best);  // rounding left the draw at the very end
}

}  // namespace dlcm
