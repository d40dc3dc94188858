// AdamW over many tensors in one sweep of memory.
#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace dlcm {

struct AdamWStep {
  double rate;
  double beta1, beta2;
  double epsilon;
  double weight_decay;
  int64_t update;         // from 1: corrects the moments' bias
  double gradient_scale;  // multiplies every gradient first
};

// parameter -= rate * (weight_decay * parameter + m / (sqrt(v) + epsilon)), with m and v the moments corrected for
// their bias. Lists of contiguous float or double tensors of the same shapes; parameters and moments change in place.
void adamw(at::TensorList parameters, at::TensorList gradients, at::TensorList first_moments,
           at::TensorList second_moments, const AdamWStep& step);

// Sum of the squares of all elements: the same bits on any number of threads.
double sum_of_squares(at::TensorList tensors);

}  // namespace dlcm
