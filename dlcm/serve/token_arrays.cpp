#include "dlcm/serve/token_arrays.h"

#include "dlcm/util/utf8.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace dlcm {
namespace {

using json = nlohmann::ordered_json;

constexpr double kNever = -9999.0;

double finite(double logprob) { return std::isfinite(logprob) ? logprob : kNever; }

// Rows of a model beyond its tokenizer's ids have no bytes.
bool is_known(const Tokenizer& tokenizer, int32_t id) { return id < tokenizer.vocabulary(); }

std::string id_name(int32_t id) { return fmt::format("token_id:{}", id); }

std::string byte_name(const Tokenizer& tokenizer, int32_t id) {
  std::string name = "bytes:";
  for (const unsigned char byte : tokenizer.display(id)) name += fmt::format("\\x{:02x}", byte);
  return name;
}

int64_t code_points(std::string_view valid) {
  return std::count_if(valid.begin(), valid.end(), [](unsigned char byte) { return (byte & 0xC0) != 0x80; });
}

json taken(json& array) { return std::exchange(array, json()); }

json bytes_of(const Tokenizer& tokenizer, int32_t id) {
  if (!is_known(tokenizer, id)) return nullptr;
  auto bytes = json::array();
  for (const unsigned char byte : tokenizer.display(id)) bytes.push_back(byte);
  return bytes;
}

json chat_entry(const Tokenizer& tokenizer, int32_t id, double logprob) {
  json entry;
  entry["token"] = token_name(tokenizer, id);
  entry["logprob"] = finite(logprob);
  entry["bytes"] = bytes_of(tokenizer, id);
  return entry;
}

}  // namespace

std::string token_name(const Tokenizer& tokenizer, int32_t id) {
  if (!is_known(tokenizer, id)) return id_name(id);
  auto text = tokenizer.display(id);
  return is_utf8(text) ? text : byte_name(tokenizer, id);
}

void CompletionLogprobs::add(int32_t id, std::string_view shown, const TokenScore* score) {
  tokens_.push_back(token_name(*tokenizer_, id));
  offsets_.push_back(code_points_);
  // Whole characters are behind us; what may still become one is not.
  code_points_ += code_points(valid_utf8(text_.push(shown)));
  if (score == nullptr) {
    logprobs_.push_back(nullptr);
    tops_.push_back(nullptr);
    return;
  }
  logprobs_.push_back(finite(score->logprob));
  auto candidates = score->likely;
  const bool listed = std::any_of(candidates.begin(), candidates.end(), [&](const auto& one) { return one.id == id; });
  if (!listed) candidates.push_back({id, score->logprob});
  auto top = json::object();
  for (const auto& candidate : candidates) {
    auto name = token_name(*tokenizer_, candidate.id);
    if (top.contains(name) && is_known(*tokenizer_, candidate.id)) name = byte_name(*tokenizer_, candidate.id);
    if (top.contains(name)) name = id_name(candidate.id);
    top[name] = finite(candidate.logprob);
  }
  tops_.push_back(std::move(top));
}

json CompletionLogprobs::take() {
  if (tokens_.is_null()) return nullptr;
  json logprobs;
  logprobs["tokens"] = taken(tokens_);
  logprobs["token_logprobs"] = taken(logprobs_);
  logprobs["top_logprobs"] = taken(tops_);
  logprobs["text_offset"] = taken(offsets_);
  return logprobs;
}

void ChatLogprobs::add(int32_t id, const TokenScore& score) {
  auto entry = chat_entry(*tokenizer_, id, score.logprob);
  auto& top = entry["top_logprobs"] = json::array();
  for (const auto& likely : score.likely) top.push_back(chat_entry(*tokenizer_, likely.id, likely.logprob));
  entries_.push_back(std::move(entry));
}

json ChatLogprobs::take() {
  if (entries_.is_null()) return nullptr;
  json logprobs;
  logprobs["content"] = taken(entries_);
  logprobs["refusal"] = nullptr;
  return logprobs;
}

void ConceptArrays::add(std::optional<float> boundary_prob, bool boundary) {
  concepts_ += boundary;
  probs_.push_back(boundary_prob ? json(*boundary_prob) : json());
  boundaries_.push_back(boundary_prob ? json(boundary) : json());
  indices_.push_back(boundary_prob ? json(concepts_ - 1) : json());
}

json ConceptArrays::take() {
  if (probs_.is_null()) return nullptr;
  json concepts;
  concepts["boundary_prob"] = taken(probs_);
  concepts["boundary"] = taken(boundaries_);
  concepts["concept"] = taken(indices_);
  return concepts;
}

}  // namespace dlcm
