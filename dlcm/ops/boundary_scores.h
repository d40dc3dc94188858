// The parser's scores: how much a token turns away from the one before it (SPEC section 2).
#pragma once

#include <ATen/ATen.h>

namespace dlcm {

// p_t = (1 - cos(q_row(t), k_t)) / 2, in [0, 1]; 1 where row(t) is -1. q_RC and k_TC float or double, row_T int64: no
// row of q serves two tokens. Differentiable in q and k; a row of zeros is at right angles to all and gets no gradient.
at::Tensor boundary_scores(const at::Tensor& q_RC, const at::Tensor& row_T, const at::Tensor& k_TC);
at::Tensor boundary_scores_reference(const at::Tensor& q_RC, const at::Tensor& row_T, const at::Tensor& k_TC);

}  // namespace dlcm
