#include "dlcm/tokenizer/added_tokens.h"

#include "dlcm/tokenizer/code_points.h"
#include "dlcm/util/utf8.h"

#include <algorithm>
#include <cstring>

namespace dlcm {
namespace {

// Where the character that ends at `end` begins.
size_t previous_character(std::string_view text, size_t end) {
  --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return end;
}

char32_t character_at(std::string_view text, size_t at) {
  const auto rest = text.substr(at);
  return utf8_decode(rest.substr(0, utf8_length(rest)));
}

bool is_word_character(char32_t code) {
  static const CodePoints set = word_characters();
  return set.contains(code);
}

bool is_white_space(char32_t code) {
  static const CodePoints set = white_space();
  return set.contains(code);
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)), nodes_(1) {
  for (size_t index = 0; index < tokens_.size(); ++index) {
    const auto first = static_cast<unsigned char>(tokens_[index].content.front());
    only_first_byte_ = index == 0 || only_first_byte_ == first ? first : -1;
    begins_token_[first] = true;
    size_t node = 0;
    for (const char character : tokens_[index].content) {
      const auto byte = static_cast<unsigned char>(character);
      auto& children = nodes_[node].children;
      const auto child = std::find_if(children.begin(), children.end(), [&](const auto& c) { return c.first == byte; });
      if (child != children.end()) {
        node = child->second;
        continue;
      }
      children.emplace_back(byte, nodes_.size());
      node = nodes_.size();
      nodes_.emplace_back();
    }
    nodes_[node].token = static_cast<int32_t>(index);
  }
}

AddedTokens::Match AddedTokens::search(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (only_first_byte_ >= 0) {
      const void* found = std::memchr(text.data() + begin, only_first_byte_, text.size() - begin);
      if (found == nullptr) return {};
      begin = static_cast<size_t>(static_cast<const char*>(found) - text.data());
    } else if (!begins_token_[static_cast<unsigned char>(text[begin])]) {
      continue;
    }
    Match longest;
    size_t node = 0;
    for (size_t at = begin; at < text.size(); ++at) {
      const auto byte = static_cast<unsigned char>(text[at]);
      const auto& children = nodes_[node].children;
      const auto child = std::find_if(children.begin(), children.end(), [&](const auto& c) { return c.first == byte; });
      if (child == children.end()) break;
      node = child->second;
      if (nodes_[node].token >= 0) longest = {begin, at + 1, &tokens_[static_cast<size_t>(nodes_[node].token)]};
    }
    if (longest.token != nullptr) return longest;
  }
  return {};
}

bool AddedTokens::stands_alone(std::string_view text, const Match& match) {
  const bool word_before =
      match.begin > 0 && is_word_character(character_at(text, previous_character(text, match.begin)));
  const bool word_after = match.end < text.size() && is_word_character(character_at(text, match.end));
  return !word_before && !word_after;
}

size_t AddedTokens::white_space_before(std::string_view text, size_t end) {
  while (end > 0) {
    const size_t begin = previous_character(text, end);
    if (!is_white_space(character_at(text, begin))) break;
    end = begin;
  }
  return end;
}

size_t AddedTokens::white_space_after(std::string_view text, size_t begin) {
  while (begin < text.size() && is_white_space(character_at(text, begin))) begin += utf8_length(text.substr(begin));
  return begin;
}

}  // namespace dlcm
