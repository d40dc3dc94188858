// RMSNorm with its gain.
#pragma once

#include "dlcm/ops/rms_norm.h"

#include <torch/nn/module.h>

namespace dlcm {

class RmsNormImpl : public torch::nn::Module {
 public:
  RmsNormImpl(int64_t size, double epsilon) : gain(register_parameter("gain", at::ones({size}))), epsilon_(epsilon) {}
  at::Tensor forward(const at::Tensor& x) const { return rms_norm(x, gain, epsilon_); }

  at::Tensor gain;

 private:
  double epsilon_;
};
TORCH_MODULE(RmsNorm);

}  // namespace dlcm
