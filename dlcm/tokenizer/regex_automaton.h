// A deterministic automaton with the meaning of a backtracking matcher: alternatives in order, greedy before less
// greedy.
//
// A state is the list of places in the pattern where such a matcher might be, the one it would try first in front. When
// a place is the end of the pattern, all after it are dropped: the matcher would have stopped there. So the last end
// that is passed is the match, and every text is read once, whatever the pattern. The states are all made beforehand,
// for the few classes of code points that the pattern tells apart.
#pragma once

#include "dlcm/tokenizer/regex_syntax.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace dlcm {

class RegexAutomaton {
 public:
  static constexpr size_t kNoMatch = static_cast<size_t>(-1);

  // Nothing where the pattern would need too many states.
  static std::optional<RegexAutomaton> make(const RegexNode& pattern);

  // Where the match that begins at byte `begin` ends, or kNoMatch. `text` is well-formed UTF-8, and a character (or the
  // end) is at `begin`.
  size_t match(std::string_view text, size_t begin) const;

 private:
  class Builder;
  RegexAutomaton() = default;

  uint8_t class_of(char32_t code) const { return class_blocks_[class_block_[code >> 8] << 8 | (code & 0xFF)]; }

  // Of each state and class: twice the next state (0: none), plus 1 where a match ends before the code point. The class
  // number `classes_` is the end of the text.
  std::vector<uint16_t> transitions_;
  size_t classes_ = 0;
  // The class of a code point: block of 256 code points, then the class of each code point of each distinct block.
  std::vector<uint16_t> class_block_;
  std::vector<uint8_t> class_blocks_;
  std::array<uint8_t, 128> ascii_class_{};
};

inline size_t RegexAutomaton::match(std::string_view text, size_t begin) const {
  const size_t stride = classes_ + 1;
  const auto* const first = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = first + text.size();
  const auto* at = first + begin;
  size_t found = kNoMatch;
  size_t state = 1;
  while (at < end) {
    const unsigned char lead = *at;
    size_t bytes = 1;
    uint8_t code_class;
    if (lead < 0x80) {
      code_class = ascii_class_[lead];
    } else if (lead < 0xE0) {
      bytes = 2;
      code_class = class_of((lead & 0x1Fu) << 6 | (at[1] & 0x3Fu));
    } else if (lead < 0xF0) {
      bytes = 3;
      code_class = class_of((lead & 0x0Fu) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu));
    } else {
      bytes = 4;
      code_class = class_of((lead & 0x07u) << 18 | (at[1] & 0x3Fu) << 12 | (at[2] & 0x3Fu) << 6 | (at[3] & 0x3Fu));
    }
    const uint16_t transition = transitions_[state * stride + code_class];
    if (transition & 1) found = static_cast<size_t>(at - first);
    state = transition >> 1;
    if (state == 0) return found;
    at += bytes;
  }
  return transitions_[state * stride + classes_] & 1 ? text.size() : found;
}

}  // namespace dlcm
