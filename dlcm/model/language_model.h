// What training and validation need of a model, DLCM or baseline alike. Its full pass is also what the inference engine
// (infer/engine.h) is tested against.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/model/batch.h"
#include "dlcm/model/parser.h"
#include "dlcm/model/segmentation.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace dlcm {

struct Output {
  at::Tensor y_TD;                           // normed decoder output; logits are logit_scale * y head^T
  std::optional<Cut> cut;                    // none for a model without concepts
  std::optional<Segmentation> segmentation;  // none for a model without concepts
};

class LanguageModel : public torch::nn::Module {
 public:
  // Every document of the batch from its first token.
  virtual Output forward(const Batch& batch, const Decision& decision) = 0;

  // Scores and boundaries alone: the first pass of the Global Parser (SPEC section 2). None for the baseline.
  virtual std::optional<Cut> parse(const Batch& batch, const Decision& decision) = 0;

  // [V, D]
  virtual const at::Tensor& head() const = 0;

  // Called by forward with the raw output of each component, until another one is set; for the coordinate check.
  using Observer = std::function<void(std::string_view component, const at::Tensor& value)>;
  void set_observer(Observer observer) { observer_ = std::move(observer); }

  const Config& config() const { return config_; }
  // The head's only width factor: 1 / s_token (SPEC section 4).
  double logit_scale() const { return 1.0 / config_.token_multiplier(); }
  // y_TD -> logits [T, V]; for tests, training uses cross_entropy.
  at::Tensor logits(const at::Tensor& y_TD) const { return at::mm(y_TD, head().t()) * logit_scale(); }
  // y_TD -> double [T]: nats of what the model predicts after each row. Holds the logits of a few rows at a time.
  at::Tensor next_token_entropies(const at::Tensor& y_TD) const;

 protected:
  explicit LanguageModel(Config config) : config_(std::move(config)) {}
  const at::Tensor& observed(std::string_view component, const at::Tensor& value) const {
    if (observer_) observer_(component, value);
    return value;
  }
  Config config_;
  Observer observer_;
};

// Builds the model that the config describes, in float, with weights drawn from config.train.seed.
// Throws Error where model.vocabulary is 0.
std::shared_ptr<LanguageModel> make_model(const Config& config);

}  // namespace dlcm
