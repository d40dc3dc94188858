// The gate of SwiGLU: silu(gate) * up.
#pragma once

#include <ATen/ATen.h>

namespace dlcm {

// gate_up [T, 2F], float or double: F columns of the gate, then F of what it gates. Returns [T, F]; differentiable.
at::Tensor swiglu(const at::Tensor& gate_up);
at::Tensor swiglu_reference(const at::Tensor& gate_up);

}  // namespace dlcm
