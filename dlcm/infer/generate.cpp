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

constexpr int64_t kPrefillTokens = 4096;  // rows of a long prompt that are read at once

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// One sequence being decoded.
class Sequence {
 public:
  Sequence(LanguageModel& model, int64_t vocabulary, double threshold)
      : model_(model), vocabulary_(vocabulary), threshold_(threshold), state_(model.new_state()) {}

  // Reads `ids`; `cut()` and `logits()` are then those of the last one.
  void read(const std::vector<int32_t>& ids) {
    for (size_t first = 0; first < ids.size(); first += kPrefillTokens) {
      const size_t last = std::min(ids.size(), first + kPrefillTokens);
      Batch batch;
      batch.token_T = at::tensor(std::vector<int64_t>(ids.begin() + first, ids.begin() + last), at::kLong);
      batch.documents = Documents::from_offsets({0, static_cast<int64_t>(last - first)});
      output_ = model_.step(batch, Decision::evaluation(threshold_), {state_.get()});
    }
  }

  GeneratedToken described(int32_t id) const {
    if (!output_.cut) return {.id = id};
    return {.id = id,
            .boundary_prob = output_.cut->p_T[-1].item<double>(),
            .boundary = output_.cut->boundary_T[-1].item<bool>()};
  }

  // Of the token after the last one; a model may have more rows than its tokenizer has ids.
  at::Tensor logits() const {
    const auto last_row = output_.y_TD.narrow(0, output_.y_TD.size(0) - 1, 1);
    return model_.logits(last_row).squeeze(0).narrow(0, 0, vocabulary_);
  }

 private:
  LanguageModel& model_;
  int64_t vocabulary_;
  double threshold_;
  std::unique_ptr<DecodingState> state_;
  Output output_;
};

}  // namespace

void check_settings(const GenerateSettings& settings) {
  check_sampling(settings.sampling);
  if (settings.max_tokens < 1) throw Error("expected at least 1 token to generate, found {}", settings.max_tokens);
}

int64_t Generation::concepts() const {
  return std::count_if(tokens.begin(), tokens.end(), [](const GeneratedToken& token) { return token.boundary; });
}

Generation generate(const LoadedModel& model, std::string_view prompt, const GenerateSettings& settings,
                    const GenerateCallback& callback) {
  check_settings(settings);
  const at::NoGradGuard no_gradient;
  const auto& tokenizer = *model.tokenizer;
  Sequence sequence(*model.model, tokenizer.vocabulary(), settings.threshold);
  Generation generation;

  auto begin = std::chrono::steady_clock::now();
  std::vector<int32_t> prompt_ids{static_cast<int32_t>(tokenizer.begin_of_text())};
  const auto text_ids = tokenizer.encode_with_specials(prompt);
  prompt_ids.insert(prompt_ids.end(), text_ids.begin(), text_ids.end());
  generation.prompt_tokens = static_cast<int64_t>(prompt_ids.size());
  sequence.read(prompt_ids);
  generation.prompt_seconds = seconds_since(begin);

  begin = std::chrono::steady_clock::now();
  TextStream stream;
  for (int64_t i = 0; i < settings.max_tokens; ++i) {
    const double uniform = uniform_draw(settings.sampling.seed, DrawUse::sampling, 0, static_cast<uint64_t>(i));
    const auto id = static_cast<int32_t>(sample(sequence.logits(), settings.sampling, uniform));
    if (id == tokenizer.end_of_text()) {
      generation.finish_reason = FinishReason::stop;
      break;
    }
    // Also the last token is read: whether it opens a concept is known only then.
    sequence.read({id});
    generation.tokens.push_back(sequence.described(id));
    generation.text += tokenizer.piece(id);
    if (callback) callback(stream.push(tokenizer.piece(id)), &generation.tokens.back());
  }
  if (callback) callback(stream.finish(), nullptr);
  generation.seconds = seconds_since(begin);
  return generation;
}

nlohmann::ordered_json to_json(const Generation& generation, const LoadedModel& model) {
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
