// The mean of each segment of rows: how a concept is made of its tokens (SPEC section 1, "Pooling").
#pragma once

#include <ATen/ATen.h>

namespace dlcm {

// h_TD [T, D]; segment k is rows [begin_K[k], end_K[k]), int64, not empty, ascending and without overlap.
// Returns [K, D]. Differentiable in h; rows outside every segment get a zero gradient.
at::Tensor segment_mean(const at::Tensor& h_TD, const at::Tensor& begin_K, const at::Tensor& end_K);
at::Tensor segment_mean_reference(const at::Tensor& h_TD, const at::Tensor& begin_K, const at::Tensor& end_K);

}  // namespace dlcm
