// The arrays, one entry a token, that a completion's `logprobs` and `return_concepts` ask for.
#pragma once

#include "dlcm/infer/log_probabilities.h"
#include "dlcm/infer/text_stream.h"
#include "dlcm/tokenizer/tokenizer.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dlcm {

// The name of a token: its text, or where its bytes are no UTF-8 "bytes:\xe4\xb8".
std::string token_name(const Tokenizer& tokenizer, int32_t id);

// `logprobs` of a completion: {"tokens", "token_logprobs", "top_logprobs", "text_offset"}. Offsets count code points of
// the choice's text; a token inside a character has the offset of that character.
//
// Where two tokens of one position have the same name, the less likely one is named by its bytes, and by "token_id:N"
// where that is taken, too. A probability of zero is -9999.0.
class CompletionLogprobs {
 public:
  explicit CompletionLogprobs(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  // `shown` is the token's part of the choice's text; a null score is that of a token that nothing predicts.
  void add(int32_t id, std::string_view shown, const TokenScore* score);
  // What came since the last call; null where nothing did.
  nlohmann::ordered_json take();

 private:
  const Tokenizer* tokenizer_;
  int64_t code_points_ = 0;  // of the text behind us
  TextStream text_;
  nlohmann::ordered_json tokens_, logprobs_, tops_, offsets_;
};

// `logprobs` of a chat completion: {"content": [{"token", "logprob", "bytes", "top_logprobs": [...]}], "refusal":
// null}.
class ChatLogprobs {
 public:
  explicit ChatLogprobs(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  void add(int32_t id, const TokenScore& score);
  nlohmann::ordered_json take();

 private:
  const Tokenizer* tokenizer_;
  nlohmann::ordered_json entries_;
};

// `concepts`: {"boundary_prob", "boundary", "concept"}. The last is the number of the token's concept in its document,
// from 0; a token that the model has not read (the end of a text) has null in all three.
class ConceptArrays {
 public:
  // `concepts` were opened before the first token that is added.
  void start(int64_t concepts) { concepts_ = concepts; }
  void add(std::optional<float> boundary_prob, bool boundary);
  nlohmann::ordered_json take();

 private:
  int64_t concepts_ = 0;
  nlohmann::ordered_json probs_, boundaries_, indices_;
};

}  // namespace dlcm
