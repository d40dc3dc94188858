#include "dlcm/ops/replicated_attention.h"

namespace dlcm {
namespace {

// [rows, heads, size] as the [1, heads, rows, size] that LibTorch's attention takes.
at::Tensor heads_first(const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); }

}  // namespace

at::Tensor replicated_attention(const at::Tensor& q_TNH, const at::Tensor& k_SGH, const at::Tensor& v_SGH,
                                const at::Tensor& place_T, const std::vector<int64_t>& offsets) {
  TORCH_CHECK(!offsets.empty() && offsets.back() == q_TNH.size(0) && place_T.size(0) == q_TNH.size(0),
              "replicated_attention: expected a place and a document for each of ", q_TNH.size(0), " tokens");
  const auto k_TGH = k_SGH.index_select(0, place_T), v_TGH = v_SGH.index_select(0, place_T);
  std::vector<at::Tensor> mixed;
  for (size_t document = 0; document + 1 < offsets.size(); ++document) {
    const int64_t first = offsets[document], count = offsets[document + 1] - first;
    const auto rows = [&](const at::Tensor& x) { return heads_first(x.narrow(0, first, count)); };
    if (count == 0) continue;
    mixed.push_back(at::scaled_dot_product_attention(rows(q_TNH), rows(k_TGH), rows(v_TGH), {}, 0.0,
                                                     /*is_causal=*/true, std::nullopt, /*enable_gqa=*/true)
                        .squeeze(0)
                        .transpose(0, 1));
  }
  return mixed.empty() ? q_TNH : at::cat(mixed);
}

}  // namespace dlcm
