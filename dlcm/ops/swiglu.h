// The gate of SwiGLU: silu(gate) * up.
#pragma once

#include <ATen/ATen.h>

namespace dlcm {

// gate_and_up [T, 2F]: gate in the first F columns, up in the rest. Returns [T, F]. Differentiable.
at::Tensor swiglu(const at::Tensor& gate_and_up);
at::Tensor swiglu_reference(const at::Tensor& gate_and_up);

}  // namespace dlcm
