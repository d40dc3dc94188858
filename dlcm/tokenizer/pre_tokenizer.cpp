#include "dlcm/tokenizer/pre_tokenizer.h"

#include <algorithm>

namespace dlcm {

void PreTokenizer::add_split(TextPattern pattern, SplitBehavior behavior, bool inverted) {
  stages_.emplace_back(Split{std::move(pattern), behavior, inverted});
}

std::vector<Span> PreTokenizer::join(const std::vector<Piece>& pieces, SplitBehavior behavior) {
  std::vector<Span> spans;
  if (behavior == SplitBehavior::removed || behavior == SplitBehavior::isolated) {
    for (const auto& piece : pieces) {
      if (behavior == SplitBehavior::isolated || !piece.is_match) spans.push_back(piece.span);
    }
    return spans;
  }
  // Backwards for merged_with_next, where a match joins the piece that was last before it in this order.
  const bool backwards = behavior == SplitBehavior::merged_with_next;
  bool previous_is_match = false;
  for (size_t count = 0; count < pieces.size(); ++count) {
    const auto& piece = pieces[backwards ? pieces.size() - 1 - count : count];
    const bool joins = behavior == SplitBehavior::contiguous ? piece.is_match == previous_is_match
                                                             : piece.is_match && !previous_is_match;
    previous_is_match = piece.is_match;
    if (!joins || spans.empty()) {
      spans.push_back(piece.span);
    } else if (backwards) {
      spans.back().begin = piece.span.begin;
    } else {
      spans.back().end = piece.span.end;
    }
  }
  if (backwards) std::reverse(spans.begin(), spans.end());
  return spans;
}

}  // namespace dlcm
