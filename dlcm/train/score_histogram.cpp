#include "dlcm/train/score_histogram.h"

#include <algorithm>
#include <cmath>

namespace dlcm {
namespace {

constexpr int64_t kParts = int64_t{1} << 16;

}  // namespace

ScoreHistogram::ScoreHistogram() : counts_(at::zeros({kParts}, at::kLong)) {}

void ScoreHistogram::add(const at::Tensor& p_T) {
  const auto p = p_T.detach().to(at::kDouble).contiguous();
  const auto* score = p.const_data_ptr<double>();
  auto* count = counts_.mutable_data_ptr<int64_t>();
  for (int64_t t = 0; t < p.numel(); ++t) {
    if (std::isfinite(score[t])) ++count[std::clamp<int64_t>(static_cast<int64_t>(score[t] * kParts), 0, kParts - 1)];
  }
}

double ScoreHistogram::threshold_for(double share) const {
  const auto* count = counts_.const_data_ptr<int64_t>();
  const double wanted = share * static_cast<double>(counts_.sum().item<int64_t>());
  int64_t above = 0;
  for (int64_t part = kParts - 1; part > 0; --part) {
    above += count[part];
    if (static_cast<double>(above) >= wanted) return static_cast<double>(part) / kParts;
  }
  return 0.0;
}

double ScoreHistogram::share_above(double threshold) const {
  const auto first = std::clamp<int64_t>(static_cast<int64_t>(std::ceil(threshold * kParts)), 0, kParts - 1);
  const auto above = counts_.narrow(0, first, kParts - first).sum().item<int64_t>();
  return static_cast<double>(above) / static_cast<double>(std::max<int64_t>(1, counts_.sum().item<int64_t>()));
}

}  // namespace dlcm
