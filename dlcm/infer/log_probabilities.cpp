#include "dlcm/infer/log_probabilities.h"

#include "dlcm/kernels/row_kernels.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace dlcm {

LogProbabilities::LogProbabilities(std::span<const float> logits_V) : logits_V_(logits_V) {
  const auto size = static_cast<int64_t>(logits_V.size());
  best_ = static_cast<int32_t>(kernels::argmax(logits_V.data(), size));
  normaliser_ = static_cast<double>(kernels::log_sum_exp(logits_V.data(), size));
}

std::vector<LikelyToken> LogProbabilities::most_likely(int64_t count) const {
  std::vector<int32_t> ids(logits_V_.size());
  std::iota(ids.begin(), ids.end(), 0);
  count = std::min(count, static_cast<int64_t>(ids.size()));
  const auto more_likely = [&](int32_t left, int32_t right) {
    const float a = logits_V_[static_cast<size_t>(left)], b = logits_V_[static_cast<size_t>(right)];
    return a != b ? a > b : left < right;
  };
  std::partial_sort(ids.begin(), ids.begin() + count, ids.end(), more_likely);
  std::vector<LikelyToken> likely;
  for (int64_t i = 0; i < count; ++i) likely.push_back({ids[static_cast<size_t>(i)], of(ids[static_cast<size_t>(i)])});
  return likely;
}

double LogProbabilities::entropy() const {
  double entropy = 0.0;
  for (const float logit : logits_V_) {
    const double logprob = static_cast<double>(logit) - normaliser_;
    entropy -= std::exp(logprob) * logprob;
  }
  return entropy;
}

TokenScore LogProbabilities::score(int32_t id, int64_t likely) const {
  return {.logprob = of(id), .greedy = best_ == id, .likely = most_likely(likely)};
}

}  // namespace dlcm
