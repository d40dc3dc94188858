// The causal transformer stack that E, M, D and the baseline all are: pre-RMSNorm, RoPE, grouped-query attention,
// SwiGLU, no biases (SPEC section 1, "Blocks").
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/nn/documents.h"
#include "dlcm/nn/linear.h"
#include "dlcm/nn/norm.h"
#include "dlcm/ops/rotary.h"

#include <torch/nn/module.h>

#include <functional>
#include <vector>

namespace dlcm {

class SelfAttentionImpl : public torch::nn::Module {
 public:
  explicit SelfAttentionImpl(const StackConfig& config);
  // x_TD [T, D] -> [T, D]; each row attends its document up to itself.
  at::Tensor forward(const at::Tensor& x_TD, const Documents& documents, const RotaryAngles& angles);

 private:
  QueryKeyValue project(const at::Tensor& x_TD, const RotaryAngles& angles) const;

  StackConfig config_;
  Linear query_, key_, value_, output_;
};
TORCH_MODULE(SelfAttention);

class FeedForwardImpl : public torch::nn::Module {
 public:
  explicit FeedForwardImpl(const StackConfig& config);
  at::Tensor forward(const at::Tensor& x_TD);

 private:
  Linear gate_, up_, down_;
};
TORCH_MODULE(FeedForward);

class LayerImpl : public torch::nn::Module {
 public:
  LayerImpl(const StackConfig& config, double norm_epsilon);
  at::Tensor forward(const at::Tensor& x_TD, const Documents& documents, const RotaryAngles& angles);

  RmsNorm attention_norm, feed_forward_norm;
  SelfAttention attention;
  FeedForward feed_forward;
};
TORCH_MODULE(Layer);

class TransformerImpl : public torch::nn::Module {
 public:
  // With checkpoint_activations, training keeps each layer's input alone and computes the layer again in the backward
  // pass.
  TransformerImpl(const StackConfig& config, double rope_theta, double norm_epsilon, bool checkpoint_activations);
  // What a layer reads in place of x_TD.
  using BeforeLayer = std::function<at::Tensor(size_t layer, const at::Tensor& x_TD)>;

  // The raw residual stream after the last layer, [T, D] -> [T, D]. No final norm: its owner has one where it needs it.
  at::Tensor forward(const at::Tensor& x_TD, const Documents& documents, const BeforeLayer& before_layer = nullptr);

 private:
  StackConfig config_;
  double rope_theta_;
  bool checkpoint_activations_;
  std::vector<Layer> layers_;
};
TORCH_MODULE(Transformer);

}  // namespace dlcm
