#include "dlcm/train/balance.h"

#include "dlcm/model/flops.h"

#include <algorithm>
#include <numeric>

namespace dlcm {

double expected_window_flops(const Config& config, const std::vector<int64_t>& offsets, double ratio) {
  Work work{.tokens = static_cast<double>(offsets.back()),
            .token_pairs = causal_pairs(offsets, config.model.token.attention_window),
            .entropy_pairs = causal_pairs(offsets)};
  if (config.model.kind == ModelKind::dlcm) {
    for (size_t i = 1; i < offsets.size(); ++i) {
      const auto tokens = static_cast<double>(offsets[i] - offsets[i - 1]);
      const double concepts = std::max(1.0, tokens / ratio);
      work.concepts += concepts;
      work.concept_pairs += concepts * (concepts + 1) / 2;
      work.cross_pairs += tokens * (concepts + 1) / 2;
    }
  }
  return forward_flops(config, work).total();
}

std::vector<std::vector<size_t>> share_windows(const std::vector<double>& costs, int64_t world_size) {
  const auto ranks = static_cast<size_t>(world_size);
  const size_t least = costs.size() / ranks;
  size_t longer = costs.size() % ranks;  // ranks that may take one more
  std::vector<size_t> dearest_first(costs.size());
  std::iota(dearest_first.begin(), dearest_first.end(), size_t{0});
  std::stable_sort(dearest_first.begin(), dearest_first.end(),
                   [&](size_t left, size_t right) { return costs[left] > costs[right]; });
  std::vector<std::vector<size_t>> shares(ranks);
  std::vector<double> loads(ranks, 0.0);
  for (const size_t window : dearest_first) {
    size_t chosen = ranks;
    for (size_t rank = 0; rank < ranks; ++rank) {
      const bool has_room = shares[rank].size() < least || (shares[rank].size() == least && longer > 0);
      if (has_room && (chosen == ranks || loads[rank] < loads[chosen])) chosen = rank;
    }
    if (shares[chosen].size() == least) --longer;
    shares[chosen].push_back(window);
    loads[chosen] += costs[window];
  }
  for (auto& share : shares) std::sort(share.begin(), share.end());
  return shares;
}

}  // namespace dlcm
