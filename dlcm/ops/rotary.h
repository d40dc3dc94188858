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

// x_TNH rotated by each row's angles. Differentiable in x.
at::Tensor rotary(const at::Tensor& x_TNH, const RotaryAngles& angles);
at::Tensor rotary_reference(const at::Tensor& x_TNH, const RotaryAngles& angles);

}  // namespace dlcm
