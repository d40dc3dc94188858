#include "dlcm/infer/generate.h"

#include "dlcm/infer/text_stream.h"
#include "dlcm/ops/uniform.h"
#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>

namespace dlcm {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

void check_settings(const GenerateSettings& settings) {
  check_sampling(settings.sampling);
  if (settings.max_tokens < 1) throw Error("expected at least 1 token to generate, found {}", settings.max_tokens);
}

int64_t Generation::concepts() const {
  return std::count_if(tokens.begin(), tokens.end(), [](const GeneratedToken& token) { return token.boundary; });
}

Generation generate(Engine& engine, std::string_view prompt, const GenerateSettings& settings,
                    const GenerateCallback& callback) {
  check_settings(settings);
  const auto& tokenizer = *engine.model().tokenizer;
  const auto vocabulary = static_cast<size_t>(tokenizer.vocabulary());
  const auto sequence = engine.new_sequence();
  const auto read = [&](std::span<const int32_t> ids) {
    return engine.step(
        {.sequence = sequence.get(), .ids = ids, .threshold = settings.threshold, .logits = LogitsWanted::last});
  };
  Generation generation;

  auto begin = std::chrono::steady_clock::now();
  std::vector<int32_t> prompt_ids{static_cast<int32_t>(tokenizer.begin_of_text())};
  const auto text_ids = tokenizer.encode_with_specials(prompt);
  prompt_ids.insert(prompt_ids.end(), text_ids.begin(), text_ids.end());
  generation.prompt_tokens = static_cast<int64_t>(prompt_ids.size());
  auto result = read(prompt_ids);
  generation.prompt_seconds = seconds_since(begin);

  begin = std::chrono::steady_clock::now();
  TextStream stream;
  for (int64_t i = 0; i < settings.max_tokens; ++i) {
    const double uniform = uniform_draw(settings.sampling.seed, DrawUse::sampling, 0, static_cast<uint64_t>(i));
    // A model may have more rows than its tokenizer has ids.
    const auto id = sample(std::span(result.logits).first(vocabulary), settings.sampling, uniform);
    if (id == tokenizer.end_of_text()) {
      generation.finish_reason = FinishReason::stop;
      break;
    }
    // Also the last token is read: whether it opens a concept is known only then.
    result = read(std::span(&id, 1));
    auto& token = generation.tokens.emplace_back(GeneratedToken{.id = id});
    if (!result.boundary.empty()) {
      token.boundary_prob = static_cast<double>(result.boundary_prob.front());
      token.boundary = result.boundary.front() != 0;
    }
    generation.text += tokenizer.piece(id);
    if (callback) callback(stream.push(tokenizer.piece(id)), &token);
  }
  if (callback) callback(stream.finish(), nullptr);
  generation.seconds = seconds_since(begin);
  return generation;
}

nlohmann::ordered_json to_json(const Generation& generation, const EngineModel& model) {
  auto tokens = nlohmann::ordered_json::array(), ids = tokens, boundary = tokens, boundary_prob = tokens;
  for (const auto& token : generation.tokens) {
    tokens.push_back(valid_utf8(model.tokenizer->display(token.id)));
    ids.push_back(token.id);
    boundary.push_back(token.boundary);
    boundary_prob.push_back(token.boundary_prob);
  }
  const auto completion_tokens = generation.tokens.size();
  nlohmann::ordered_json json;
  json["text"] = valid_utf8(generation.text);
  json["tokens"] = std::move(tokens);
  json["ids"] = std::move(ids);
  json["boundary"] = model.has_concepts() ? std::move(boundary) : nullptr;
  json["boundary_prob"] = model.has_concepts() ? std::move(boundary_prob) : nullptr;
  json["finish_reason"] = generation.finish_reason == FinishReason::stop ? "stop" : "length";
  json["prompt_tokens"] = generation.prompt_tokens;
  json["completion_tokens"] = completion_tokens;
  json["concepts"] = model.has_concepts() ? nlohmann::ordered_json(generation.concepts()) : nullptr;
  json["prompt_seconds"] = generation.prompt_seconds;
  json["seconds"] = generation.seconds;
  json["tokens_per_second"] = static_cast<double>(completion_tokens) / generation.seconds;
  return json;
}

}  // namespace dlcm
