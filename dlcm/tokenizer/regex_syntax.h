// The part of Oniguruma's syntax that a finite automaton can match: alternation, groups, repetition, sets of code
// points, and a look at the next one.
#pragma once

#include "dlcm/tokenizer/code_points.h"

#include <optional>
#include <string_view>
#include <vector>

namespace dlcm {

struct RegexNode {
  enum class Kind { one_of, sequence, alternation, repeat, look_ahead };

  Kind kind = Kind::sequence;
  // one_of: takes one code point of `set`. look_ahead: takes nothing, and holds where the next code point is of `set`
  // (or, `negated`, where it is not, or the text ends).
  CodePoints set{};
  bool negated = false;
  // sequence: one after the other (none: the empty text). alternation: the first that fits. repeat: one child.
  std::vector<RegexNode> children{};
  // repeat: at most kNoLimit times; `greedy` prefers more, else fewer.
  int least = 0, most = 0;
  bool greedy = true;

  static constexpr int kNoLimit = -1;

  // Whether it can match the empty text.
  bool matches_empty() const;
};

// Nothing where the pattern uses what is not in this part, means something else to Oniguruma in some case, or is wrong:
// then Oniguruma itself must match it.
std::optional<RegexNode> parse_regex(std::string_view pattern);

// `text` itself, whatever its characters mean in a regular expression; well-formed UTF-8.
RegexNode literal_regex(std::string_view text);

}  // namespace dlcm
