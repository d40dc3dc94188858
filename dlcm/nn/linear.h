// A matrix without bias.
#pragma once

#include <ATen/ATen.h>
#include <torch/nn/module.h>

namespace dlcm {

// x [T, in], weights [out, in] -> [T, sum of out]: the columns x weight^T of each, side by side, in the precision of
// MatrixPrecision, result in x's type.
at::Tensor linear_product(const at::Tensor& x, at::TensorList weights);

class LinearImpl : public torch::nn::Module {
 public:
  LinearImpl(int64_t in, int64_t out) : weight(register_parameter("weight", at::zeros({out, in}))) {}
  at::Tensor forward(const at::Tensor& x) const { return linear_product(x, weight); }

  at::Tensor weight;
};
TORCH_MODULE(Linear);

}  // namespace dlcm
