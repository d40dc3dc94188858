#include "dlcm/infer/token_scores.h"

#include <algorithm>
#include <numeric>

namespace dlcm {
namespace {

constexpr int64_t kChunkLogits = int64_t{1} << 24;

}  // namespace

std::vector<TokenScore> token_scores(const LanguageModel& model, const at::Tensor& y_TD,
                                     const std::vector<TokenQuery>& queries) {
  const at::NoGradGuard no_gradient;
  std::vector<size_t> order(queries.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t left, size_t right) { return queries[left].row < queries[right].row; });
  const int64_t chunk_rows = std::max<int64_t>(1, kChunkLogits / model.head().size(0));
  std::vector<TokenScore> scores(queries.size());
  for (size_t begin = 0; begin < order.size();) {
    std::vector<int64_t> rows;
    std::vector<int64_t> row_places, logit_places;  // of each query in the chunk
    size_t end = begin;
    for (; end < order.size(); ++end) {
      const int64_t row = queries[order[end]].row;
      if (rows.empty() || rows.back() != row) {
        if (static_cast<int64_t>(rows.size()) == chunk_rows) break;
        rows.push_back(row);
      }
      row_places.push_back(static_cast<int64_t>(rows.size()) - 1);
      logit_places.push_back(row_places.back() * model.head().size(0) + queries[order[end]].id);
    }
    const auto logits_NV = model.logits(y_TD.index_select(0, at::tensor(rows, at::kLong)));
    const auto normaliser_N = at::logsumexp(logits_NV, {1}).to(at::kDouble);
    const auto best_N = logits_NV.argmax(1);
    const auto asked_Q = logits_NV.flatten().index_select(0, at::tensor(logit_places, at::kLong)).to(at::kDouble);
    const auto* best = best_N.const_data_ptr<int64_t>();
    const auto* normaliser = normaliser_N.const_data_ptr<double>();
    const auto* asked = asked_Q.const_data_ptr<double>();
    for (size_t i = begin; i < end; ++i) {
      const int64_t row = row_places[i - begin];
      scores[order[i]] = {.logprob = asked[i - begin] - normaliser[row], .greedy = best[row] == queries[order[i]].id};
    }
    begin = end;
  }
  return scores;
}

}  // namespace dlcm
