// How a text is cut into the words within which byte pairs are merged: stages, each cutting what the one before it
// gave.
#pragma once

#include "dlcm/tokenizer/text_pattern.h"

#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dlcm {

// What becomes of the places that a pattern matches.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

class PreTokenizer {
 public:
  // Cuts at the matches of `pattern` (`inverted`: at what lies between them).
  void add_split(TextPattern pattern, SplitBehavior behavior, bool inverted);
  // Puts a space before every piece that does not begin with one.
  void add_prefix_space() { stages_.emplace_back(PrefixSpace{}); }

  // Calls `word(piece)` for every word of `text`, in order; none is empty.
  template <typename Word>
  void split(std::string_view text, Word&& word) const {
    run(0, text, word);
  }

 private:
  struct Split {
    TextPattern pattern;
    SplitBehavior behavior;
    bool inverted;
  };
  struct PrefixSpace {};
  struct Piece {
    Span span;
    bool is_match;
  };

  static std::vector<Span> join(const std::vector<Piece>& pieces, SplitBehavior behavior);

  template <typename Word>
  void run(size_t stage, std::string_view text, Word& word) const {
    if (text.empty()) return;
    if (stage == stages_.size()) return word(text);
    const auto* split = std::get_if<Split>(&stages_[stage]);
    if (split == nullptr) {
      if (text.starts_with(' ')) return run(stage + 1, text, word);
      return run(stage + 1, ' ' + std::string(text), word);
    }
    const auto go_on = [&](size_t begin, size_t end) { run(stage + 1, text.substr(begin, end - begin), word); };
    if (split->behavior == SplitBehavior::isolated) {
      split->pattern.split(text, [&](size_t begin, size_t end, bool) { go_on(begin, end); });
      return;
    }
    std::vector<Piece> pieces;
    split->pattern.split(text, [&](size_t begin, size_t end, bool is_match) {
      pieces.push_back({{begin, end}, is_match != split->inverted});
    });
    for (const auto& span : join(pieces, split->behavior)) go_on(span.begin, span.end);
  }

  std::vector<std::variant<Split, PrefixSpace>> stages_;
};

}  // namespace dlcm
