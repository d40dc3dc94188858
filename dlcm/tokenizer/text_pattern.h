// What a text is split at: all matches of a regular expression or of a string, as PyPI's `tokenizers` finds them.
#pragma once

#include "dlcm/tokenizer/oniguruma.h"
#include "dlcm/tokenizer/regex_automaton.h"

#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace dlcm {

class TextPattern {
 public:
  // A regular expression in Oniguruma's syntax, matched by an automaton where it is one of those that automata can
  // match (which gives the same matches, faster), else by Oniguruma. Throws Error, naming `where`, if it does not
  // compile.
  static TextPattern regex(const std::string& pattern, const std::string& where);
  // Exactly `text`.
  static TextPattern literal(std::string_view text);
  // Any one of `set`.
  static TextPattern one_of(CodePoints set);

  bool is_automaton() const { return std::holds_alternative<RegexAutomaton>(matcher_); }

  // Calls `piece(begin, end, is_match)` for every match in `text`, and for what lies between, in order; the pieces
  // cover the text. A match may be empty, but not where the one before it ends.
  template <typename Piece>
  void split(std::string_view text, Piece piece) const;

 private:
  explicit TextPattern(RegexAutomaton automaton) : matcher_(std::move(automaton)) {}
  explicit TextPattern(OnigurumaRegex regex) : matcher_(std::move(regex)) {}

  std::optional<Span> search(std::string_view text, size_t from) const;
  static size_t after_character(std::string_view text, size_t at);

  std::variant<RegexAutomaton, OnigurumaRegex> matcher_;
};

template <typename Piece>
void TextPattern::split(std::string_view text, Piece piece) const {
  size_t done = 0;  // end of the last piece
  bool matched = false;
  for (size_t from = 0; from <= text.size();) {
    const auto match = search(text, from);
    if (!match) break;
    if (match->begin == match->end && matched && match->end == done) {
      from = after_character(text, match->end);
      continue;
    }
    if (done != match->begin) piece(done, match->begin, false);
    piece(match->begin, match->end, true);
    done = from = match->end;
    matched = true;
  }
  if (done != text.size()) piece(done, text.size(), false);
}

inline size_t TextPattern::after_character(std::string_view text, size_t at) {
  ++at;
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
  return at;
}

inline std::optional<Span> TextPattern::search(std::string_view text, size_t from) const {
  if (const auto* automaton = std::get_if<RegexAutomaton>(&matcher_)) {
    for (; from <= text.size(); from = after_character(text, from)) {
      const size_t end = automaton->match(text, from);
      if (end != RegexAutomaton::kNoMatch) return Span{from, end};
    }
    return std::nullopt;
  }
  return std::get<OnigurumaRegex>(matcher_).search(text, from);
}

}  // namespace dlcm
