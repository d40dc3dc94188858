// The paper's own way to let tokens attend places, kept for comparison: keys and values of a place are repeated at each
// of its tokens, and attention is plain causal (L x L work instead of L x M).
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace dlcm {

// q_TNH; k_SGH and v_SGH, G dividing N; place_T int64, the place that each token stands in; tokens of one document are
// [offsets[i], offsets[i + 1]). LibTorch's causal flash attention over repeated keys, a document at a time: equal to
// range attention with the key bias log n_s and the last-key bias log(t - s_k + 1) (SPEC section 1).
at::Tensor replicated_attention(const at::Tensor& q_TNH, const at::Tensor& k_SGH, const at::Tensor& v_SGH,
                                const at::Tensor& place_T, const std::vector<int64_t>& offsets);

}  // namespace dlcm
