// The Dynamic Large Concept Model: H = E(x), C = Phi(H), Z = M(C), y = D(Psi(H, Z)).
#pragma once

#include "dlcm/model/concept_residual.h"
#include "dlcm/model/cross_attention.h"
#include "dlcm/model/language_model.h"
#include "dlcm/model/parser.h"
#include "dlcm/model/pooling.h"
#include "dlcm/nn/transformer.h"

#include <vector>

namespace dlcm {

class Dlcm final : public LanguageModel {
 public:
  explicit Dlcm(const Config& config);

  Output forward(const Batch& batch, const Decision& decision) override;
  std::optional<Cut> parse(const Batch& batch, const Decision& decision) override;
  const at::Tensor& head() const override { return head_->weight; }

 private:
  // The score that gates smoothing at each place: p of the token that opened it, detached unless it is to learn there.
  at::Tensor gate(const Cut& cut, const at::Tensor& opening_token_S) const;

  at::Tensor embedding_VD_;
  Transformer encoder_;
  Parser parser_;
  Pooling pooling_;
  Transformer concepts_;
  RmsNorm concepts_norm_;
  ConceptResidual concept_residual_{nullptr};    // with model.concept_residual
  std::vector<CrossAttention> cross_attention_;  // one, or one for each layer of the decoder
  Transformer decoder_;
  RmsNorm decoder_norm_;
  Linear head_;
};

}  // namespace dlcm
