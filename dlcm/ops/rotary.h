// Rotary position embedding (RoPE), the half-split form: pairs are (x[i], x[i + H/2]).
#pragma once

#include <ATen/ATen.h>

namespace dlcm {

struct RotaryAngles {
  at::Tensor cosine_TH;  // [T, H/2]
  at::Tensor sine_TH;    // [T, H/2]
};

// Angles position * theta^(-2i/H) for int64 positions [T], computed in double, stored as `type`.
RotaryAngles rotary_angles(const at::Tensor& position_T, int64_t head_size, double theta, at::ScalarType type);

struct QueryKeyValue {
  at::Tensor q_TNH, k_TGH, v_TGH;
};

// Splits projections [T, (N + 2G) H], the columns of the queries, the keys, the values, into heads, and rotates queries
// and keys by each row's angles. Differentiable in the projections.
QueryKeyValue rotary(const at::Tensor& projections, int64_t heads, int64_t kv_heads, const RotaryAngles& angles);
QueryKeyValue rotary_reference(const at::Tensor& projections, int64_t heads, int64_t kv_heads,
                               const RotaryAngles& angles);

// Rotates x [T, N, H] by each row's angles, in plain ATen. Differentiable.
at::Tensor rotated(const at::Tensor& x_TNH, const RotaryAngles& angles);

}  // namespace dlcm
