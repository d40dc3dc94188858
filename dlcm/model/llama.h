// The baseline: the token stack alone (SPEC section 1, "Blocks").
#pragma once

#include "dlcm/model/language_model.h"
#include "dlcm/nn/transformer.h"

namespace dlcm {

class Llama final : public LanguageModel {
 public:
  explicit Llama(const Config& config);

  Output forward(const Batch& batch, const Decision& decision) override;
  std::optional<Cut> parse(const Batch&, const Decision&) override { return std::nullopt; }
  const at::Tensor& head() const override { return head_->weight; }

 private:
  at::Tensor embedding_VD_;
  Transformer stack_;
  RmsNorm norm_;
  Linear head_;
};

}  // namespace dlcm
