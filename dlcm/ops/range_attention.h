// Range attention: query t attends keys [begin_t, end_t). Causal attention in packed documents, attention between
// concepts and the cross-attention from tokens to concepts are all this one op (SPEC section 1).
#pragma once

#include "dlcm/ops/product_precision.h"

#include <ATen/ATen.h>

namespace dlcm {

struct RangeAttentionInput {
  at::Tensor q_TNH;
  at::Tensor k_SGH;  // G divides N; query head n reads key head n / (N / G)
  at::Tensor v_SGH;
  at::Tensor begin_T;          // int64, non-decreasing, 0 <= begin_t
  at::Tensor end_T;            // int64, non-decreasing, end_t <= S; an empty range gives zeros
  at::Tensor key_bias_S;       // optional: added to the scores of key s; no gradient
  at::Tensor last_key_bias_T;  // optional: replaces the key bias on each query's last visible key; no gradient
};

// Returns o_TNH = softmax(q k^T / sqrt(H) + bias) v. float or double, differentiable in q, k and v. Memory O(T + S):
// never materialises T x S. In bfloat16 where the CPU has instructions for it (AMX or AVX512-BF16) and there are more
// than a few queries. Throws c10::Error where shapes, types or ranges are wrong.
at::Tensor range_attention(const RangeAttentionInput& input, ProductPrecision precision = ProductPrecision::as_given);

// The meaning of the op in plain ATen, with a dense T x S mask and autograd's own gradient.
at::Tensor range_attention_reference(const RangeAttentionInput& input);

}  // namespace dlcm
