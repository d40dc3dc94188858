// Smoothing between the backbone and the cross-attention: the identity, or a moving average gated by the score of the
// token that opened each place: s_k = p_k z_k + (1 - p_k) s_{k-1} (SPEC section 1; H-Net's form). It has no weights.
#pragma once

#include "dlcm/config/config.h"

#include <ATen/ATen.h>

#include <vector>

namespace dlcm {

// z_SW backbone output, p_S score of the token that opened each place (1 at a document's first).
at::Tensor smooth(SmoothingKind kind, const at::Tensor& z_SW, const at::Tensor& p_S);

}  // namespace dlcm
