// Sets of code points as sorted ranges, and the properties that regular expressions name.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace dlcm {

inline constexpr char32_t kLastCodePoint = 0x10FFFF;

class CodePoints {
 public:
  struct Range {
    char32_t first, last;
    bool operator==(const Range&) const = default;
  };

  CodePoints() = default;
  // In any order, overlapping or not.
  explicit CodePoints(std::vector<Range> ranges);
  static CodePoints one(char32_t code) { return CodePoints({{code, code}}); }

  // Ascending, with gaps between them.
  const std::vector<Range>& ranges() const { return ranges_; }
  bool contains(char32_t code) const;
  CodePoints united(const CodePoints& other) const;
  CodePoints complement() const;
  bool operator==(const CodePoints&) const = default;

 private:
  std::vector<Range> ranges_;
};

// The code points that `\p{name}` stands for where `name` is a general category of letters, marks, numbers,
// punctuation, symbols or separators ("L", "Lu", ...): Oniguruma's table, and what Unicode has assigned since then up
// to 16.0, the version of the table in PyPI's `tokenizers` 0.23. Nothing for other names.
std::optional<CodePoints> general_category(std::string_view name);
// `\s`.
CodePoints white_space();
// What may be part of a word: letters, marks, decimal digits and connectors, as the Unicode standard defines
// `\w`; 16.0.
CodePoints word_characters();
// Numbers of Unicode 17.0: of that version is the `char::is_numeric` that `tokenizers` cuts digits with.
CodePoints numbers_of_unicode_17();

// What Unicode 15.0, 15.1 and 16.0 have assigned: Oniguruma 6.9.8 does not know it.
CodePoints assigned_since_unicode_14();

}  // namespace dlcm
