// What the tests of inference share: models of a few thousand random weights that cut text into concepts, as LibTorch
// computes with them and packed for the engine.
#pragma once

#include "dlcm/infer/engine.h"
#include "dlcm/infer/parameters_io.h"
#include "dlcm/io/checkpoint_store.h"
#include "tests/support/models.h"

#include <memory>
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

// Stands for its engine wherever one is asked for. The weights are packed when they are first needed: change them, the
// tokenizer or the quantiles before.
struct TinyModel {
  Config config;
  std::shared_ptr<LanguageModel> model;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<double> boundary_quantiles;

  std::shared_ptr<const EngineModel> packed(WeightFormat format = WeightFormat::float32) const {
    auto result =
        std::make_shared<EngineModel>(pack_model(config, tokenizer, save_parameters(*model), format, "memory"));
    result->boundary_quantiles = boundary_quantiles;
    return result;
  }
  Engine& engine() const {
    if (!engine_) engine_ = std::make_shared<Engine>(packed(), EngineSettings{.threads = 2});
    return *engine_;
  }
  operator Engine&() const { return engine(); }
  operator const EngineModel&() const { return engine().model(); }

 private:
  mutable std::shared_ptr<Engine> engine_;
};

// Of the byte tokenizer.
inline TinyModel tiny_model(const Config& config) {
  TinyModel tiny;
  tiny.config = config;
  tiny.model = make_model(config);
  tiny.tokenizer = load_tokenizer("bytes");
  for (int percent = 0; percent <= 100; ++percent) tiny.boundary_quantiles.push_back(percent / 100.0);
  fill_buffers(*tiny.model);
  for (auto& buffer : tiny.model->named_buffers()) {
    if (!buffer.key().ends_with("opens_word")) continue;
    const auto table = tiny.tokenizer->opens_word();
    buffer.value()
        .narrow(0, 0, static_cast<int64_t>(table.size()))
        .copy_(at::tensor(std::vector<int64_t>(table.begin(), table.end()), at::kLong));
  }
  return tiny;
}

inline Checkpoint checkpoint_of(const TinyModel& model) {
  return {.step = 7,
          .model = save_parameters(*model.model),
          .optimizer = {},
          .config_toml = to_toml(model.config),
          .tokenizer = model.tokenizer->serialized(),
          .trainer = {{"tokens", 1234}, {"boundary_quantiles", model.boundary_quantiles}}};
}

}  // namespace dlcm::test
