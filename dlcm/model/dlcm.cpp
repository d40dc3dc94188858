// The model as the paper writes it (SPEC section 1).
#include "dlcm/model/dlcm.h"

#include "dlcm/model/smoothing.h"

namespace dlcm {
Dlcm::Dlcm(const Config& config)
    : LanguageModel(config),
      embedding_VD_(register_parameter("embedding", at::zeros({config.model.vocabulary, config.model.token.width}))),
      encoder_(register_module(
          "encoder", Transformer(config.model.token.stack(config.model.token.encoder_layers), config.model.rope_theta,
                                 config.model.norm_epsilon, config.train.activation_checkpointing))),
      parser_(register_module("parser", Parser(config))),
      pooling_(register_module("pooling", Pooling(config))),
      concepts_(
          register_module("concepts", Transformer(config.model.concepts.stack(), config.model.rope_theta,
                                                  config.model.norm_epsilon, config.train.activation_checkpointing))),
      concepts_norm_(register_module("concepts_norm", RmsNorm(config.model.concepts.width, config.model.norm_epsilon))),
      concept_residual_(config.model.concept_residual ? register_module("concept_residual", ConceptResidual(config))
                                                      : ConceptResidual(nullptr)),
      cross_attention_([&] {
        std::vector<CrossAttention> readings;
        for (int64_t index = 0; index < config.model.cross_attentions(); ++index) {
          readings.push_back(register_module(ModelConfig::cross_attention_name(index), CrossAttention(config)));
        }
        return readings;
      }()),
      decoder_(register_module(
          "decoder", Transformer(config.model.token.stack(config.model.token.decoder_layers), config.model.rope_theta,
                                 config.model.norm_epsilon, config.train.activation_checkpointing))),
      decoder_norm_(register_module("decoder_norm", RmsNorm(config.model.token.width, config.model.norm_epsilon))),
      head_(register_module("head", Linear(config.model.token.width, config.model.vocabulary))) {}

at::Tensor Dlcm::gate(const Cut& cut, const at::Tensor& opening_token_S) const {
  const auto p_S = cut.p_T.index_select(0, opening_token_S);
  return config_.parser.gradient == ParserGradient::smoothing ? p_S : p_S.detach();
}

Output Dlcm::forward(const Batch& batch, const Decision& decision) {
  // H = E(x)
  const auto x_TD = observed("embedding", at::embedding(embedding_VD_, batch.token_T));
  const auto h_TD = observed("encoder", encoder_->forward(x_TD, batch.documents));
  // p_t = (1 - cos(q_{t-1}, k_t)) / 2, b ~ Bernoulli(sharpened p) in training, [p >= threshold] in evaluation
  const auto cut = parser_->forward(h_TD, batch, decision);
  if (config_.parser.rule == BoundaryRule::learned) observed("parser", cut.p_T);
  // j(t) = sum of b up to t
  const auto segmentation = Segmentation::from(cut.boundary_T, batch.documents);
  // C = Phi(H): the mean of each segment, projected, shifted right by one place
  const auto c_SW = observed("concepts", pooling_->forward(h_TD, segmentation));
  // Z = M(C). PAPER-GAP: M ends in RMSNorm, and its positions are places.
  const auto z_SW = concepts_norm_->forward(observed("backbone", concepts_->forward(c_SW, segmentation.places)));
  const auto smoothed_SW = smooth(config_.smoothing.kind, z_SW, gate(cut, segmentation.start_S));
  // y = D(Psi(H, Z))
  const auto read = [&](size_t layer, const at::Tensor& input_TD) {
    return cross_attention_[layer]->forward(input_TD, smoothed_SW, segmentation, cut, batch.documents);
  };
  const auto told_TD = concept_residual_ ? concept_residual_->forward(h_TD, smoothed_SW, segmentation, cut) : h_TD;
  const auto read_TD = observed("cross-attention", read(0, told_TD));
  const auto read_again = [&](size_t layer, const at::Tensor& input_TD) {
    return layer == 0 || layer >= cross_attention_.size() ? input_TD : read(layer, input_TD);
  };
  const auto y_TD =
      decoder_norm_->forward(observed("decoder", decoder_->forward(read_TD, batch.documents, read_again)));
  return {y_TD, cut, segmentation};
}

std::optional<Cut> Dlcm::parse(const Batch& batch, const Decision& decision) {
  return parser_->forward(encoder_->forward(at::embedding(embedding_VD_, batch.token_T), batch.documents), batch,
                          decision);
}

}  // namespace dlcm
