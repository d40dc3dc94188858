// What the tests of inference share: models of a few thousand random weights that cut text into concepts.
#pragma once

#include "dlcm/infer/loaded_model.h"
#include "dlcm/infer/parameters_io.h"
#include "dlcm/io/checkpoint_store.h"
#include "tests/support/models.h"

#include <vector>

namespace dlcm::test {

inline Config tiny_config(ModelKind kind, int64_t vocabulary = 258) {
  auto config = random_model_config(kind, vocabulary);
  config.model.token.encoder_layers *= 2;
  config.parser.decision = BoundaryDecision::threshold;
  config.parser.ratio = 3.3;
  config.mup.base_token_width = 8;
  config.train.context = 64;
  config.train.tokens_per_step = 128;
  config.train.micro_batch_tokens = 128;
  return config;
}

// Of the byte tokenizer, without a checkpoint.
inline LoadedModel tiny_model(const Config& config) {
  LoadedModel loaded;
  loaded.path = "memory";
  loaded.config = config;
  loaded.model = make_model(config);
  loaded.tokenizer = load_tokenizer("bytes");
  for (int percent = 0; percent <= 100; ++percent) loaded.boundary_quantiles.push_back(percent / 100.0);
  fill_buffers(*loaded.model);
  for (auto& buffer : loaded.model->named_buffers()) {
    if (!buffer.key().ends_with("opens_word")) continue;
    const auto table = loaded.tokenizer->opens_word();
    buffer.value().copy_(at::tensor(std::vector<int64_t>(table.begin(), table.end()), at::kLong));
  }
  return loaded;
}

inline Checkpoint checkpoint_of(const LoadedModel& model) {
  return {.step = 7,
          .model = save_parameters(*model.model),
          .optimizer = {},
          .config_toml = to_toml(model.config),
          .tokenizer = model.tokenizer->serialized(),
          .trainer = {{"tokens", 1234}, {"boundary_quantiles", model.boundary_quantiles}}};
}

}  // namespace dlcm::test
