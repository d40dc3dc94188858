#include "dlcm/nn/transformer.h"

#include "dlcm/nn/activation_checkpoint.h"
#include "dlcm/nn/precision.h"
#include "dlcm/ops/range_attention.h"
#include "dlcm/ops/swiglu.h"

namespace dlcm {

SelfAttentionImpl::SelfAttentionImpl(const StackConfig& config)
    : config_(config),
      query_(register_module("query", Linear(config.width, config.width))),
      key_(register_module("key", Linear(config.width, config.kv_heads * config.head_size()))),
      value_(register_module("value", Linear(config.width, config.kv_heads * config.head_size()))),
      output_(register_module("output", Linear(config.width, config.width))) {}

QueryKeyValue SelfAttentionImpl::project(const at::Tensor& x_TD, const RotaryAngles& angles) const {
  return rotary(linear_product(x_TD, {query_->weight, key_->weight, value_->weight}), config_.heads, config_.kv_heads,
                angles);
}

at::Tensor SelfAttentionImpl::forward(const at::Tensor& x_TD, const Documents& documents, const RotaryAngles& angles) {
  const auto [q_TNH, k_TGH, v_TGH] = project(x_TD, angles);
  const auto mixed = range_attention({.q_TNH = q_TNH,
                                      .k_SGH = k_TGH,
                                      .v_SGH = v_TGH,
                                      .begin_T = documents.begin_T,
                                      .end_T = documents.end_T,
                                      .key_bias_S = {},
                                      .last_key_bias_T = {}},
                                     product_precision());
  return output_->forward(mixed.reshape({x_TD.size(0), config_.width}));
}

FeedForwardImpl::FeedForwardImpl(const StackConfig& config)
    : gate_(register_module("gate", Linear(config.width, config.feed_forward))),
      up_(register_module("up", Linear(config.width, config.feed_forward))),
      down_(register_module("down", Linear(config.feed_forward, config.width))) {}

at::Tensor FeedForwardImpl::forward(const at::Tensor& x_TD) {
  return down_->forward(swiglu(linear_product(x_TD, {gate_->weight, up_->weight})));
}

LayerImpl::LayerImpl(const StackConfig& config, double norm_epsilon)
    : attention_norm(register_module("attention_norm", RmsNorm(config.width, norm_epsilon))),
      feed_forward_norm(register_module("feed_forward_norm", RmsNorm(config.width, norm_epsilon))),
      attention(register_module("attention", SelfAttention(config))),
      feed_forward(register_module("feed_forward", FeedForward(config))) {}

at::Tensor LayerImpl::forward(const at::Tensor& x_TD, const Documents& documents, const RotaryAngles& angles) {
  const auto mixed_TD = attention->forward(attention_norm->forward(x_TD), documents, angles).add_(x_TD);
  return feed_forward->forward(feed_forward_norm->forward(mixed_TD)).add_(mixed_TD);
}

TransformerImpl::TransformerImpl(const StackConfig& config, double rope_theta, double norm_epsilon,
                                 bool checkpoint_activations)
    : config_(config), rope_theta_(rope_theta), checkpoint_activations_(checkpoint_activations) {
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    layers_.push_back(register_module("layers" + std::to_string(layer), Layer(config, norm_epsilon)));
  }
}

at::Tensor TransformerImpl::forward(const at::Tensor& x_TD, const Documents& documents,
                                    const BeforeLayer& before_layer) {
  if (layers_.empty()) return x_TD;
  const auto angles = rotary_angles(documents.position_T, config_.head_size(), rope_theta_, x_TD.scalar_type());
  const auto visible = documents.within(config_.window);
  auto x = x_TD;
  for (size_t index = 0; index < layers_.size(); ++index) {
    auto& layer = layers_[index];
    if (before_layer) x = before_layer(index, x);
    auto run = [layer, visible, angles](const at::Tensor& input) mutable {
      return layer->forward(input, visible, angles);
    };
    x = checkpoint_activations_ ? checkpointed(run, x, layer->parameters()) : run(x);
  }
  return x;
}

}  // namespace dlcm
