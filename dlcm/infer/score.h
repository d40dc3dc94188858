// Documents under a model: the log-probability of every token and where concepts begin.
#pragma once

#include "dlcm/infer/engine.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

// All arrays have one entry per token; the first token, <|bos|> for a text, is given and not predicted.
struct ScoredDocument {
  std::vector<int32_t> ids;
  std::vector<std::string> pieces;    // the tokens' bytes, which may be parts of characters; empty for <|bos|>
  std::vector<double> logprobs;       // in nats; the first is 0 and means nothing
  std::vector<bool> greedy;           // whether the token was the most likely one; the first means nothing
  std::vector<double> boundary_prob;  // p: 1 at the first token of a piece of train.context tokens; empty for llama
  std::vector<bool> boundary;         // whether the token opens a concept; empty for llama
  double threshold = 0.5;             // used
  double nll = 0.0;                   // of all tokens but the first, in nats
  int64_t bytes = 0;                  // of the text, or of all ids but the first

  int64_t tokens() const { return static_cast<int64_t>(ids.size()); }
  int64_t concepts() const;
  double bits_per_byte() const;  // not a number for an empty text
};

// Texts of any bytes; a long one is cut into pieces of train.context tokens, each of which starts afresh, as in
// training. No document's scores depend on the others.
std::vector<ScoredDocument> score(Engine& engine, const std::vector<std::string>& texts, double threshold);
// The same for ids, none added; each document has at least one, all of the tokenizer's vocabulary.
std::vector<ScoredDocument> score_ids(Engine& engine, const std::vector<std::vector<int32_t>>& documents,
                                      double threshold);

// <|bos|> and the text's ids.
std::vector<int32_t> document_ids(const Tokenizer& tokenizer, std::string_view text);

// One object: tokens, ids, logprobs, greedy, boundary_prob, boundary, nll, bytes, bits_per_byte. Bytes of a token that
// are not valid UTF-8 become U+FFFD; what the model or the text does not have is null.
nlohmann::ordered_json to_json(const ScoredDocument& document, const Tokenizer& tokenizer);

}  // namespace dlcm
