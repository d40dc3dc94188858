#include "dlcm/model/llama.h"

namespace dlcm {
Llama::Llama(const Config& config)
    : LanguageModel(config),
      embedding_VD_(register_parameter("embedding", at::zeros({config.model.vocabulary, config.model.token.width}))),
      stack_(register_module("stack",
                             Transformer(config.model.token.stack(config.model.token.layers), config.model.rope_theta,
                                         config.model.norm_epsilon, config.train.activation_checkpointing))),
      norm_(register_module("norm", RmsNorm(config.model.token.width, config.model.norm_epsilon))),
      head_(register_module("head", Linear(config.model.token.width, config.model.vocabulary))) {}

Output Llama::forward(const Batch& batch, const Decision&) {
  const auto x_TD = observed("embedding", at::embedding(embedding_VD_, batch.token_T));
  const auto h_TD = observed("decoder", stack_->forward(x_TD, batch.documents));
  return {norm_->forward(h_TD), std::nullopt, std::nullopt};
}

}  // namespace dlcm
