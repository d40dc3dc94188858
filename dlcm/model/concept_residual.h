// What a token may be given of its own place's concept beside what Psi reads (model.concept_residual); not in the
// paper:
//   H'_t = H_t + W_r z_j(t), z the smoothed places.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/model/parser.h"
#include "dlcm/model/segmentation.h"
#include "dlcm/nn/linear.h"

#include <torch/nn/module.h>

namespace dlcm {

class ConceptResidualImpl : public torch::nn::Module {
 public:
  explicit ConceptResidualImpl(const Config& config);

  // h_TD raw, z_SW smoothed places -> [T, D].
  at::Tensor forward(const at::Tensor& h_TD, const at::Tensor& z_SW, const Segmentation& segmentation, const Cut& cut);

 private:
  ParserGradient gradient_;
  Linear down_;
};
TORCH_MODULE(ConceptResidual);

}  // namespace dlcm
