// The model as the paper writes it. `forward` is training and evaluation over whole documents; `step` is the same
// stages over rows that continue sequences, with each stage's state (SPEC sections 1 and 6).
#include "dlcm/model/dlcm.h"

#include "dlcm/model/smoothing.h"

namespace dlcm {
namespace {

struct DlcmState final : DecodingState {
  std::unique_ptr<DecodingState> fork() const override { return std::make_unique<DlcmState>(*this); }

  StackState encoder, concepts, decoder;
  ParserState parser;
  PoolingState pooling;
  SmoothingState smoothing;
  CrossAttentionState cross_attention;
};

// One stage's part of every sequence's state.
template <typename Part>
std::vector<Part*> parts(const std::vector<DecodingState*>& states, Part DlcmState::*part) {
  std::vector<Part*> selected;
  for (auto* state : states) {
    auto* mine = dynamic_cast<DlcmState*>(state);
    TORCH_CHECK(mine != nullptr, "Dlcm::step: a state that another model made");
    selected.push_back(&(mine->*part));
  }
  return selected;
}

}  // namespace

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
      cross_attention_(register_module("cross_attention", CrossAttention(config))),
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
  // j(t) = sum of b up to t
  const auto segmentation = Segmentation::from(cut.boundary_T, batch.documents);
  // C = Phi(H): the mean of each segment, projected, shifted right by one place
  const auto c_SW = observed("concepts", pooling_->forward(h_TD, segmentation));
  // Z = M(C). PAPER-GAP: M ends in RMSNorm, and its positions are places.
  const auto z_SW = concepts_norm_->forward(observed("backbone", concepts_->forward(c_SW, segmentation.places)));
  const auto smoothed_SW = smooth(config_.smoothing.kind, z_SW, gate(cut, segmentation.start_S));
  // y = D(Psi(H, Z))
  const auto read_TD =
      observed("cross-attention", cross_attention_->forward(h_TD, smoothed_SW, segmentation, cut, batch.documents));
  const auto y_TD = decoder_norm_->forward(observed("decoder", decoder_->forward(read_TD, batch.documents)));
  return {y_TD, cut, segmentation};
}

std::optional<Cut> Dlcm::parse(const Batch& batch, const Decision& decision) {
  return parser_->forward(encoder_->forward(at::embedding(embedding_VD_, batch.token_T), batch.documents), batch,
                          decision);
}

std::unique_ptr<DecodingState> Dlcm::new_state() const { return std::make_unique<DlcmState>(); }

Output Dlcm::step(const Batch& batch, const Decision& decision, const std::vector<DecodingState*>& states) {
  const auto h_TD =
      encoder_->step(at::embedding(embedding_VD_, batch.token_T), batch.documents, parts(states, &DlcmState::encoder));
  const auto cut = parser_->forward(h_TD, batch, decision, parts(states, &DlcmState::parser));
  // The places that open in these rows, packed by sequence; the backbone runs on them alone.
  const auto opening_token_S = cut.boundary_T.nonzero().squeeze(1);
  std::vector<int64_t> place_offsets{0};
  for (int64_t i = 0; i < batch.documents.size(); ++i) {
    const int64_t first = batch.documents.offsets[i], count = batch.documents.offsets[i + 1] - first;
    place_offsets.push_back(place_offsets.back() + cut.boundary_T.narrow(0, first, count).sum().item<int64_t>());
  }
  const auto places = Documents::from_offsets(place_offsets);
  const auto c_SW = pooling_->step(h_TD, cut.boundary_T, batch.documents, parts(states, &DlcmState::pooling));
  const auto z_SW = concepts_norm_->forward(concepts_->step(c_SW, places, parts(states, &DlcmState::concepts)));
  const auto smoothed_SW = smooth_step(config_.smoothing.kind, z_SW, gate(cut, opening_token_S), place_offsets,
                                       parts(states, &DlcmState::smoothing));
  const auto read_TD =
      cross_attention_->step(h_TD, smoothed_SW, cut, batch.documents, parts(states, &DlcmState::cross_attention));
  const auto y_TD =
      decoder_norm_->forward(decoder_->step(read_TD, batch.documents, parts(states, &DlcmState::decoder)));
  return {y_TD, cut, std::nullopt};
}

}  // namespace dlcm
