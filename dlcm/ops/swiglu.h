// The gate of SwiGLU: silu(gate) * up.
#pragma once

#include <ATen/ATen.h>

namespace dlcm {

// gate and up of one shape, float or double. Differentiable in both.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);
at::Tensor swiglu_reference(const at::Tensor& gate, const at::Tensor& up);

}  // namespace dlcm
