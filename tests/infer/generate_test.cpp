#include "dlcm/infer/generate.h"

#include "dlcm/infer/score.h"
#include "dlcm/ops/uniform.h"
#include "dlcm/util/error.h"
#include "tests/infer/tiny_model.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>

namespace dlcm {
namespace {

const std::string kPrompt = "Once upon a time";

GenerateSettings greedy(int64_t max_tokens) {
  GenerateSettings settings;
  settings.max_tokens = max_tokens;
  settings.sampling.temperature = 0.0;
  return settings;
}

std::vector<int32_t> ids_of(const Generation& generation) {
  std::vector<int32_t> ids;
  for (const auto& token : generation.tokens) ids.push_back(token.id);
  return ids;
}

// A model that gives all 258 tokens the same probability: draw u gives token floor(258 u).
test::TinyModel indifferent_model() {
  auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  const at::NoGradGuard no_gradient;
  at::Tensor head = model.model->head();
  head.zero_();
  return model;
}

int32_t indifferent_draw(uint64_t seed, uint64_t index) {
  return static_cast<int32_t>(std::floor(258.0 * uniform_draw(seed, DrawUse::sampling, 0, index)));
}

TEST(Generate, GreedyTokensAreTheFullPassesMostLikely) {
  for (const auto kind : {ModelKind::dlcm, ModelKind::llama}) {
    const auto model = test::tiny_model(test::tiny_config(kind));
    // Beyond train.context, which limits training alone.
    const auto generation = generate(model, kPrompt, greedy(100));
    ASSERT_EQ(generation.tokens.size(), 100u);
    EXPECT_EQ(generation.finish_reason, FinishReason::length);
    auto ids = document_ids(*model.tokenizer, kPrompt);
    const size_t prompt_tokens = ids.size();
    EXPECT_EQ(generation.prompt_tokens, static_cast<int64_t>(prompt_tokens));
    for (const auto id : ids_of(generation)) ids.push_back(id);
    const at::NoGradGuard no_gradient;
    Batch batch;
    batch.token_T = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong);
    batch.documents = Documents::from_offsets({0, static_cast<int64_t>(ids.size())});
    const auto output = model.model->forward(batch, Decision::evaluation(0.5));
    const auto best_T = model.model->logits(output.y_TD).argmax(-1);
    for (size_t t = prompt_tokens; t < ids.size(); ++t) {
      EXPECT_EQ(best_T[static_cast<int64_t>(t) - 1].item<int64_t>(), ids[t]) << t;
      if (!output.cut) continue;
      const auto& token = generation.tokens[t - prompt_tokens];
      EXPECT_EQ(output.cut->boundary_T[static_cast<int64_t>(t)].item<bool>(), token.boundary) << t;
      EXPECT_NEAR(output.cut->p_T[static_cast<int64_t>(t)].item<double>(), token.boundary_prob, 1e-4) << t;
    }
  }
}

TEST(Generate, TokenIIsDrawnWithUniformI) {
  const auto model = indifferent_model();
  GenerateSettings settings;
  settings.max_tokens = 20;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    settings.sampling.seed = seed;
    const auto ids = ids_of(generate(model, kPrompt, settings));
    for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(ids[i], indifferent_draw(seed, i));
  }
}

TEST(Generate, StopsAtEndOfTextAndLeavesItOut) {
  const auto model = indifferent_model();
  const auto end = static_cast<int32_t>(model.tokenizer->end_of_text());
  GenerateSettings settings;
  while (indifferent_draw(settings.sampling.seed, 2) != end || indifferent_draw(settings.sampling.seed, 0) == end ||
         indifferent_draw(settings.sampling.seed, 1) == end) {
    ++settings.sampling.seed;
  }
  const auto generation = generate(model, kPrompt, settings);
  EXPECT_EQ(generation.finish_reason, FinishReason::stop);
  EXPECT_EQ(generation.tokens.size(), 2u);
  EXPECT_EQ(to_json(generation, model).at("finish_reason"), "stop");
}

TEST(Generate, StreamedTextIsTheWholeTextInWholeCharacters) {
  const auto model = indifferent_model();
  GenerateSettings settings;
  settings.max_tokens = 300;
  settings.sampling.seed = 1;
  std::string streamed;
  size_t tokens = 0;
  bool ended = false;
  const auto generation = generate(model, "", settings, [&](std::string_view text, const GeneratedToken* token) {
    EXPECT_FALSE(ended);
    streamed += text;
    tokens += token != nullptr;
    ended = token == nullptr;
  });
  EXPECT_TRUE(ended);
  EXPECT_EQ(streamed, generation.text);
  EXPECT_EQ(tokens, generation.tokens.size());
  EXPECT_EQ(generation.text, model.tokenizer->decode(ids_of(generation)));
}

TEST(Generate, IdsBeyondTheTokenizerAreNeverDrawn) {
  auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm, 1000));
  GenerateSettings settings;
  settings.max_tokens = 30;
  settings.sampling.temperature = 1e6;
  for (const auto id : ids_of(generate(model, kPrompt, settings))) EXPECT_LT(id, 258);
}

TEST(Generate, LongPromptsAreReadInParts) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  std::string prompt;
  while (prompt.size() < 5000) prompt += kPrompt + std::to_string(prompt.size());
  const auto generation = generate(model, prompt, greedy(3));
  EXPECT_EQ(generation.prompt_tokens, static_cast<int64_t>(prompt.size()) + 1);
  auto ids = document_ids(*model.tokenizer, prompt);
  const at::NoGradGuard no_gradient;
  Batch batch;
  batch.token_T = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong);
  batch.documents = Documents::from_offsets({0, static_cast<int64_t>(ids.size())});
  const auto output = model.model->forward(batch, Decision::evaluation(0.5));
  EXPECT_EQ(model.model->logits(output.y_TD).argmax(-1)[-1].item<int64_t>(), generation.tokens.front().id);
}

TEST(Generate, ASpecialTokenInThePromptIsThatToken) {
  auto model = test::tiny_model(test::tiny_config(ModelKind::llama, 1000));
  model.tokenizer = load_tokenizer(DLCM_SOURCE_DIR "/tests/tokenizer/files/gpt2.json");
  EXPECT_EQ(generate(model, "<|endoftext|>", greedy(1)).prompt_tokens, 2);
  EXPECT_GT(generate(model, "<|endoftex|>", greedy(1)).prompt_tokens, 4);
}

TEST(Generate, JsonCountsWhatWasGenerated) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  const auto generation = generate(model, kPrompt, greedy(40));
  const auto object = nlohmann::json::parse(to_json(generation, model).dump());
  for (const auto* name : {"tokens", "ids", "boundary", "boundary_prob"})
    EXPECT_EQ(object.at(name).size(), 40u) << name;
  EXPECT_EQ(object.at("finish_reason"), "length");
  EXPECT_EQ(object.at("prompt_tokens"), 17);
  EXPECT_EQ(object.at("completion_tokens"), 40);
  int64_t opened = 0;
  for (const bool boundary : object.at("boundary")) opened += boundary;
  EXPECT_EQ(object.at("concepts"), opened);
  EXPECT_GT(object.at("seconds").get<double>(), 0.0);
  EXPECT_NEAR(object.at("tokens_per_second").get<double>() * object.at("seconds").get<double>(), 40.0, 1e-6);
}

TEST(Generate, LlamaHasNoConcepts) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::llama));
  const auto object = to_json(generate(model, kPrompt, greedy(5)), model);
  EXPECT_TRUE(object.at("boundary").is_null());
  EXPECT_TRUE(object.at("boundary_prob").is_null());
  EXPECT_TRUE(object.at("concepts").is_null());
  EXPECT_EQ(object.at("ids").size(), 5u);
}

TEST(Generate, SettingsOutOfRangeAreErrors) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::llama));
  EXPECT_THROW(generate(model, kPrompt, greedy(0)), Error);
  auto settings = greedy(1);
  settings.sampling.top_p = 0.0;
  EXPECT_THROW(generate(model, kPrompt, settings), Error);
}

}  // namespace
}  // namespace dlcm
