#include "dlcm/model/llama.h"

namespace dlcm {
namespace {

struct LlamaState final : DecodingState {
  std::unique_ptr<DecodingState> fork() const override { return std::make_unique<LlamaState>(*this); }

  StackState stack;
};

}  // namespace

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

std::unique_ptr<DecodingState> Llama::new_state() const { return std::make_unique<LlamaState>(); }

Output Llama::step(const Batch& batch, const Decision&, const std::vector<DecodingState*>& states) {
  std::vector<StackState*> stacks;
  for (auto* state : states) {
    auto* mine = dynamic_cast<LlamaState*>(state);
    TORCH_CHECK(mine != nullptr, "Llama::step: a state that another model made");
    stacks.push_back(&mine->stack);
  }
  const auto h_TD = stack_->step(at::embedding(embedding_VD_, batch.token_T), batch.documents, stacks);
  return {norm_->forward(h_TD), std::nullopt, std::nullopt};
}

}  // namespace dlcm
