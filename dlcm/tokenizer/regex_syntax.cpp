#include "dlcm/tokenizer/regex_syntax.h"

#include "dlcm/tokenizer/oniguruma.h"
#include "dlcm/util/utf8.h"

#include <algorithm>
#include <charconv>

namespace dlcm {
namespace {

using Kind = RegexNode::Kind;

constexpr int kLargestRepeat = 64;
constexpr int kDeepestGroup = 64;

// What the parser does not know; caught in parse_regex.
struct Unsupported {};

RegexNode one_of(CodePoints set) { return {.kind = Kind::one_of, .set = std::move(set)}; }

bool is_ascii_letter(char32_t code) { return (code | 0x20) >= 'a' && (code | 0x20) <= 'z'; }
bool is_ascii_digit(char32_t code) { return code >= '0' && code <= '9'; }

class RegexParser {
 public:
  explicit RegexParser(std::string_view pattern) : rest_(pattern) {}

  RegexNode parse() {
    auto node = alternation();
    if (!rest_.empty()) throw Unsupported();
    return node;
  }

 private:
  bool ahead(std::string_view text) const { return rest_.starts_with(text); }

  bool take(std::string_view text) {
    if (!ahead(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }

  char32_t character() {
    const size_t length = utf8_length(rest_);
    if (length == 0) throw Unsupported();
    const char32_t code = utf8_decode(rest_.substr(0, length));
    rest_.remove_prefix(length);
    return code;
  }

  RegexNode alternation() {
    if (++depth_ > kDeepestGroup) throw Unsupported();
    std::vector<RegexNode> branches{sequence()};
    while (take("|")) branches.push_back(sequence());
    --depth_;
    if (branches.size() == 1) return std::move(branches.front());
    return {.kind = Kind::alternation, .children = std::move(branches)};
  }

  RegexNode sequence() {
    RegexNode node{.kind = Kind::sequence};
    while (!rest_.empty() && !ahead("|") && !ahead(")")) node.children.push_back(repeated(atom()));
    return node;
  }

  RegexNode repeated(RegexNode atom) {
    RegexNode repeat{.kind = Kind::repeat, .most = RegexNode::kNoLimit};
    bool interval = false;
    if (take("?")) {
      repeat.most = 1;
    } else if (take("+")) {
      repeat.least = 1;
    } else if (take("{")) {
      interval = true;
      repeat.least = number();
      repeat.most = repeat.least;
      if (take(",")) repeat.most = ahead("}") ? RegexNode::kNoLimit : number();
      if (!take("}") || (repeat.most != RegexNode::kNoLimit && repeat.most < repeat.least)) throw Unsupported();
    } else if (!take("*")) {
      return atom;
    }
    if (!interval && take("?")) repeat.greedy = false;
    if (ahead("?") || ahead("*") || ahead("+") || ahead("{")) throw Unsupported();  // possessive, or repeated again
    if (atom.matches_empty()) throw Unsupported();
    repeat.children.push_back(std::move(atom));
    return repeat;
  }

  int number() {
    int value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc() || value < 0 || value > kLargestRepeat || !is_ascii_digit(rest_.front())) {
      throw Unsupported();
    }
    rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
    return value;
  }

  RegexNode atom() {
    if (take("(?i:")) return group_ignoring_case();
    if (take("(?!")) return look_ahead(true);
    if (take("(?=")) return look_ahead(false);
    if (take("(?:")) return group();
    if (ahead("(?") || ahead("(*")) throw Unsupported();
    if (take("(")) return group();
    if (take("[")) return one_of(bracket());
    if (take("\\")) {
      if (ignore_case_) throw Unsupported();
      return one_of(escape());
    }
    if (take(".")) return one_of(CodePoints::one('\n').complement());
    const char32_t code = character();
    if (std::u32string_view(U"^$*+?{}]").find(code) != std::u32string_view::npos) throw Unsupported();
    return one_of(ignore_case_ ? case_variants(code) : CodePoints::one(code));
  }

  RegexNode group() {
    auto node = alternation();
    if (!take(")")) throw Unsupported();
    return node;
  }

  RegexNode group_ignoring_case() {
    const bool outside = ignore_case_;
    ignore_case_ = true;
    auto node = group();
    ignore_case_ = outside;
    return node;
  }

  RegexNode look_ahead(bool negated) {
    auto inside = group();
    // A sequence of one set.
    if (inside.kind == Kind::sequence && inside.children.size() == 1) inside = RegexNode(inside.children.front());
    if (inside.kind != Kind::one_of) throw Unsupported();
    return {.kind = Kind::look_ahead, .set = std::move(inside.set), .negated = negated};
  }

  CodePoints case_variants(char32_t code) {
    if (code >= 0x80) throw Unsupported();
    const auto letters =
        static_cast<size_t>(std::find_if_not(rest_.begin(), rest_.end(),
                                             [](char byte) {
                                               return static_cast<unsigned char>(byte) >= 0x80 ||
                                                      is_ascii_letter(static_cast<unsigned char>(byte));
                                             }) -
                            rest_.begin());
    const auto variants = oniguruma_case_variants(static_cast<char>(code), rest_.substr(0, letters));
    if (!variants) throw Unsupported();
    return *variants;
  }

  // What stands behind a backslash; `single` tells whether it is one code point by name or number.
  CodePoints escape(bool* single = nullptr) {
    if (single != nullptr) *single = false;
    if (take("s")) return white_space();
    if (take("S")) return white_space().complement();
    if (take("d")) return property("Nd");
    if (take("D")) return property("Nd").complement();
    if (ahead("p{") || ahead("P{")) {
      const bool inverted = take("P");
      take("p");
      take("{");
      const bool negated = take("^");
      const size_t end = rest_.find('}');
      if (end == std::string_view::npos) throw Unsupported();
      const auto set = property(rest_.substr(0, end));
      rest_.remove_prefix(end + 1);
      return inverted != negated ? set.complement() : set;
    }
    if (single != nullptr) *single = true;
    constexpr std::string_view kNames = "tnrfae", kValues = "\t\n\r\f\a\x1B";
    const char32_t code = character();
    if (code < 0x80) {
      const size_t index = kNames.find(static_cast<char>(code));
      if (index != std::string_view::npos) return CodePoints::one(static_cast<unsigned char>(kValues[index]));
    }
    if (code >= 0x80 || code <= ' ' || is_ascii_letter(code) || is_ascii_digit(code) || code == '<' || code == '>' ||
        code == '\'' || code == '`') {
      throw Unsupported();  // anchors, back references, and what Oniguruma may take for a command
    }
    return CodePoints::one(code);
  }

  static CodePoints property(std::string_view name) {
    const auto set = general_category(name);
    if (!set) throw Unsupported();
    return *set;
  }

  CodePoints bracket() {
    if (ignore_case_) throw Unsupported();
    const bool negated = take("^");
    if (ahead("]")) throw Unsupported();
    CodePoints set;
    while (!take("]")) {
      bool single = false;
      const CodePoints first = bracket_item(single);
      if (ahead("-") && !ahead("-]")) {
        take("-");
        bool last_single = false;
        const CodePoints last = bracket_item(last_single);
        if (!single || !last_single) throw Unsupported();
        const char32_t begin = first.ranges().front().first, end = last.ranges().front().first;
        if (begin > end || (ahead("-") && !ahead("-]"))) throw Unsupported();
        set = set.united(CodePoints({{begin, end}}));
      } else {
        set = set.united(first);
      }
    }
    return negated ? set.complement() : set;
  }

  CodePoints bracket_item(bool& single) {
    if (take("\\")) return escape(&single);
    if (ahead("[") || ahead("&&") || (ahead("-") && !ahead("-]"))) throw Unsupported();
    single = true;
    return CodePoints::one(character());
  }

  std::string_view rest_;
  bool ignore_case_ = false;
  int depth_ = 0;
};

}  // namespace

bool RegexNode::matches_empty() const {
  const auto empty = [](const RegexNode& child) { return child.matches_empty(); };
  switch (kind) {
    case Kind::one_of:
      return false;
    case Kind::sequence:
      return std::all_of(children.begin(), children.end(), empty);
    case Kind::alternation:
      return std::any_of(children.begin(), children.end(), empty);
    case Kind::repeat:
      return least == 0 || children.front().matches_empty();
    case Kind::look_ahead:
      return true;
  }
  return true;
}

std::optional<RegexNode> parse_regex(std::string_view pattern) {
  try {
    return RegexParser(pattern).parse();
  } catch (const Unsupported&) {
    return std::nullopt;
  }
}

RegexNode literal_regex(std::string_view text) {
  RegexNode node{.kind = Kind::sequence};
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    node.children.push_back(one_of(CodePoints::one(utf8_decode(text.substr(0, length)))));
    text.remove_prefix(length);
  }
  return node;
}

}  // namespace dlcm
