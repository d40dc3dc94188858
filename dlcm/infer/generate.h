// Cached decoding: the prompt in one go, then token by token (SPEC section 6).
#pragma once

#include "dlcm/infer/engine.h"
#include "dlcm/infer/sampler.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

struct GenerateSettings {
  int64_t max_tokens = 128;  // there is no limit of positions: beyond train.context the model simply goes on
  double threshold = 0.5;
  SamplingSettings sampling;
};

// Throws Error naming the setting that is out of range.
void check_settings(const GenerateSettings& settings);

struct GeneratedToken {
  int32_t id = 0;
  double boundary_prob = 0.0;  // p; 0 for llama
  bool boundary = false;       // whether the token opened a concept
};

enum class FinishReason { stop, length };  // <|endoftext|> was drawn; max_tokens were

struct Generation {
  std::string text;                    // without the prompt; any bytes
  std::vector<GeneratedToken> tokens;  // of the text
  FinishReason finish_reason = FinishReason::length;
  int64_t prompt_tokens = 0;    // <|bos|> included
  double prompt_seconds = 0.0;  // reading the prompt
  double seconds = 0.0;         // all tokens after it

  int64_t concepts() const;  // opened by the generated tokens
};

// Called after each token with the text that has become whole characters; at the end once more with what is left, and
// then without a token.
using GenerateCallback = std::function<void(std::string_view text, const GeneratedToken* token)>;

// Continues <|bos|> and the prompt (Tokenizer::encode_with_specials) until <|endoftext|> is drawn or max_tokens are.
// Token i is drawn with uniform i of the seed. Throws Error as check_settings does.
Generation generate(Engine& engine, std::string_view prompt, const GenerateSettings& settings,
                    const GenerateCallback& callback = {});

// One object: text, tokens, ids, boundary, boundary_prob, finish_reason, prompt_tokens, completion_tokens, concepts,
// prompt_seconds, seconds, tokens_per_second. The arrays have one entry per generated token.
nlohmann::ordered_json to_json(const Generation& generation, const EngineModel& model);

}  // namespace dlcm
