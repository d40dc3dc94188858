// The gated moving average that smooths places (SPEC section 1, "Smoothing"; H-Net's form):
// s_k = p_k z_k + (1 - p_k) s_{k-1}. A gate of 1 starts afresh, so packed documents need no further care.
#pragma once

#include <ATen/ATen.h>

namespace dlcm {

// z_SW [S, W], p_S [S] in [0, 1], initial_W the s before the first row. Returns s [S, W].
// Differentiable in z and p (not in initial).
at::Tensor moving_average(const at::Tensor& z_SW, const at::Tensor& p_S, const at::Tensor& initial_W);
at::Tensor moving_average_reference(const at::Tensor& z_SW, const at::Tensor& p_S, const at::Tensor& initial_W);

}  // namespace dlcm
