// Small random models and packed batches of random documents.
#pragma once

#include "dlcm/model/language_model.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

namespace dlcm::test {

inline constexpr std::array kBoundaryRules{BoundaryRule::learned, BoundaryRule::cosine,     BoundaryRule::stride,
                                           BoundaryRule::random,  BoundaryRule::whitespace, BoundaryRule::entropy};

// Large initial weights, so that attention, scores and logits differ from token to token and nothing is near linear.
inline Config random_model_config(ModelKind kind, int64_t vocabulary = 64) {
  Config config;
  config.model.kind = kind;
  config.model.vocabulary = vocabulary;
  config.model.init_std = 0.3;
  config.model.token = {.width = 16, .feed_forward = 24, .heads = 4, .kv_heads = 2};
  if (kind == ModelKind::llama) {
    config.model.token.layers = 2;
  } else {
    config.model.token.encoder_layers = 1;
    config.model.token.decoder_layers = 1;
  }
  config.model.concepts = {.width = 24, .layers = 2, .feed_forward = 20, .heads = 3, .kv_heads = 1};
  config.parser.ratio = 2.5;
  config.parser.decision =
      BoundaryDecision::sample;  // the harder one: every draw must be the same however a step is split
  config.parser.min_length = 2;
  config.parser.entropy = {.model = "elsewhere",
                           // About the median of what weights of fill_buffers predict.
                           .threshold = std::log(static_cast<double>(vocabulary)) - 0.38,
                           .width = 12,
                           .base_width = 0,
                           .layers = 1,
                           .feed_forward = 8,
                           .heads = 2,
                           .kv_heads = 1};
  config.train.context = 16;
  config.train.tokens_per_step = 96;
  config.train.micro_batch_tokens = 16;
  return config;
}

// With everything that the paper does not have: concepts that take in the token which opens the next, a Psi in each of
// two decoder layers, which knows places, the concept added to its tokens, and token attention that sees `window` tokens.
inline Config beyond_the_paper(Config config, int64_t window) {
  config.model.token.attention_window = window;
  if (config.model.kind == ModelKind::llama) return config;
  config.model.token.decoder_layers = 2;
  config.model.pooling = PoolingSpan::through_opening;
  config.model.cross_attention_layers = CrossAttentionLayers::every;
  config.model.cross_attention_positions = CrossAttentionPositions::places;
  config.model.concept_residual = true;
  return config;
}

// The whitespace rule's table and the weights of the entropy rule's model, which initialise() leaves to others: every
// fourth id begins a word, weights are normal.
inline void fill_buffers(torch::nn::Module& model) {
  for (auto& buffer : model.named_buffers()) {
    auto& value = buffer.value();
    if (buffer.key().ends_with("opens_word")) {
      value.set_data(at::arange(value.numel()).remainder(4).eq(0).to(at::kByte));
    } else {
      value.normal_(0.0, 0.5, at::make_generator<at::CPUGeneratorImpl>(buffer.key().size()));
    }
  }
}

// In double.
inline std::shared_ptr<LanguageModel> double_model(const Config& config) {
  auto model = make_model(config);
  model->to(at::kDouble);
  fill_buffers(*model);  // Module::to converted the table, too
  return model;
}

inline at::Tensor parameter(const torch::nn::Module& model, const std::string& name) {
  const auto parameters = model.named_parameters();
  const auto* found = parameters.find(name);
  TORCH_CHECK(found != nullptr, "no parameter ", name);
  return *found;
}

// Documents of these lengths, end to end; tokens drawn from `random`, targets the next token of the document.
inline Batch random_batch(const std::vector<int64_t>& lengths, int64_t vocabulary, std::mt19937_64& random) {
  std::vector<int64_t> tokens, targets, offsets{0};
  for (const int64_t length : lengths) {
    for (int64_t t = 0; t < length; ++t) {
      tokens.push_back(static_cast<int64_t>(random() % static_cast<uint64_t>(vocabulary)));
      if (t > 0) targets.push_back(tokens.back());
    }
    if (length > 0) targets.push_back(-1);
    offsets.push_back(offsets.back() + length);
  }
  Batch batch;
  batch.token_T = at::tensor(tokens, at::kLong);
  batch.target_T = at::tensor(targets, at::kLong);
  batch.documents = Documents::from_offsets(offsets);
  return batch;
}

// One document of a batch, alone.
inline Batch document_alone(const Batch& batch, int64_t document) {
  const int64_t first = batch.documents.offsets[document], count = batch.documents.offsets[document + 1] - first;
  Batch alone;
  alone.token_T = batch.token_T.narrow(0, first, count);
  alone.target_T = batch.target_T.narrow(0, first, count);
  alone.documents = Documents::from_offsets({0, count});
  return alone;
}

// Boundaries at each document's first token and, at random, at about every third one of the others.
inline at::Tensor random_boundaries(const Documents& documents, std::mt19937_64& random) {
  auto boundary_T = at::zeros({documents.rows()}, at::kBool);
  auto* boundary = boundary_T.mutable_data_ptr<bool>();
  const auto* position = documents.position_T.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < documents.rows(); ++t) boundary[t] = position[t] == 0 || random() % 3 == 0;
  return boundary_T;
}

}  // namespace dlcm::test
