// Pooling: concept k is the mean of its tokens' h, projected from D to W; and the shift: the backbone's input at a
// document's first place is a learned start concept, at every later place the concept before it (SPEC section 1).
// With model.pooling = "through_opening" a concept ends one token later, with the token that opens the place that reads
// it, and so does the one before: every place then knows all tokens up to its own first.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/model/segmentation.h"
#include "dlcm/nn/linear.h"
#include "dlcm/nn/norm.h"

#include <torch/nn/module.h>

#include <vector>

namespace dlcm {

class PoolingImpl : public torch::nn::Module {
 public:
  explicit PoolingImpl(const Config& config);

  // h_TD -> c_SW, the backbone's input at each place.
  at::Tensor forward(const at::Tensor& h_TD, const Segmentation& segmentation);

  at::Tensor start_concept_W;

 private:
  PoolingSpan span_;
  RmsNorm norm_;
  Linear up_;
};
TORCH_MODULE(Pooling);

}  // namespace dlcm
