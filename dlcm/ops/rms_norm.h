// RMSNorm over the last dimension: y = gain * x / sqrt(mean(x^2) + epsilon).
#pragma once

#include <ATen/ATen.h>

namespace dlcm {

// x [..., D] float or double, gain [D]. Differentiable in both.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double epsilon);
at::Tensor rms_norm_reference(const at::Tensor& x, const at::Tensor& gain, double epsilon);

}  // namespace dlcm
