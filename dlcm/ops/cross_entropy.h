// Cross-entropy of a linear head without ever holding T x V logits: a chunk of rows at a time, the gradients of the
// input and of the head computed in the same sweep.
#pragma once

#include "dlcm/ops/product_precision.h"

#include <ATen/ATen.h>

namespace dlcm {

struct CrossEntropy {
  at::Tensor sum;    // scalar: sum of nll over rows that have a target; differentiable in y and head
  at::Tensor nll_T;  // negative log-likelihood in nats, 0 where there is no target; detached
};

// y_TD float or double, head_VD, target_T int64 in [0, V) or -1. Logits are logit_scale * y head^T.
// In bfloat16, logits and their gradients are rounded to it, too.
// Extra memory: one chunk of logits (at most about 256 MB) and, where a gradient is wanted, dy and dhead.
CrossEntropy cross_entropy(const at::Tensor& y_TD, const at::Tensor& head_VD, const at::Tensor& target_T,
                           double logit_scale, ProductPrecision precision = ProductPrecision::as_given);
CrossEntropy cross_entropy_reference(const at::Tensor& y_TD, const at::Tensor& head_VD, const at::Tensor& target_T,
                                     double logit_scale);

}  // namespace dlcm
