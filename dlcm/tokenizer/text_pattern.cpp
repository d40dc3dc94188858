#include "dlcm/tokenizer/text_pattern.h"

#include "dlcm/tokenizer/regex_syntax.h"
#include "dlcm/util/error.h"

namespace dlcm {

TextPattern TextPattern::regex(const std::string& pattern, const std::string& where) {
  OnigurumaRegex regex(pattern, where);  // in any case: what is wrong is refused with its reason
  if (const auto node = parse_regex(pattern)) {
    if (auto automaton = RegexAutomaton::make(*node)) return TextPattern(std::move(*automaton));
  }
  return TextPattern(std::move(regex));
}

TextPattern TextPattern::literal(std::string_view text) {
  auto automaton = RegexAutomaton::make(literal_regex(text));
  if (!automaton) throw Error("expected a string of at most 4000 characters to split at, found {} bytes", text.size());
  return TextPattern(std::move(*automaton));
}

TextPattern TextPattern::one_of(CodePoints set) {
  return TextPattern(*RegexAutomaton::make({.kind = RegexNode::Kind::one_of, .set = std::move(set)}));
}

}  // namespace dlcm
