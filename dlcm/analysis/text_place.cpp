#include "dlcm/analysis/text_place.h"

#include "dlcm/util/utf8.h"

#include <algorithm>
#include <cstdint>

namespace dlcm {
namespace {

// The code point of the first character; the byte itself where it begins none.
uint32_t first_character(std::string_view text) {
  const size_t length = utf8_length(text);
  return length == 0 ? static_cast<unsigned char>(text.front()) : utf8_decode(text.substr(0, length));
}

bool between(uint32_t value, uint32_t low, uint32_t high) { return value >= low && value <= high; }

bool is_white_space(uint32_t c) {
  return c == ' ' || between(c, 9, 13) || c == 0xA0 || between(c, 0x2000, 0x200A) || c == 0x3000;
}
bool is_digit(uint32_t c) { return between(c, '0', '9') || between(c, 0xFF10, 0xFF19); }
bool is_chinese(uint32_t c) {
  return between(c, 0x3400, 0x4DBF) || between(c, 0x4E00, 0x9FFF) || between(c, 0xF900, 0xFAFF) ||
         between(c, 0x20000, 0x3FFFF);
}
// ASCII and Latin-1 signs, general and Chinese punctuation, full-width signs.
bool is_punctuation(uint32_t c) {
  if (c < 0x80) return between(c, 33, 47) || between(c, 58, 64) || between(c, 91, 96) || between(c, 123, 126);
  return between(c, 0xA1, 0xA9) || between(c, 0xAB, 0xB4) || between(c, 0xB6, 0xB9) || between(c, 0xBB, 0xBF) ||
         c == 0xD7 || c == 0xF7 || between(c, 0x2010, 0x2BFF) || between(c, 0x3001, 0x303F) ||
         between(c, 0xFE30, 0xFE4F) || between(c, 0xFF01, 0xFF0F) || between(c, 0xFF1A, 0xFF20) ||
         between(c, 0xFF3B, 0xFF40) || between(c, 0xFF5B, 0xFF65);
}

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0u) == 0x80u; }

bool ends_in_letter(std::string_view text) {
  size_t begin = text.size();
  for (int bytes = 0; begin > 0 && bytes < 4; ++bytes) {
    if (!continues(text[--begin])) break;
  }
  if (begin == text.size()) return false;
  const auto c = first_character(text.substr(begin));
  return !is_white_space(c) && !is_digit(c) && !is_punctuation(c) && !is_chinese(c) && c > ' ';
}

}  // namespace

TextPlace place_in_text(std::string_view text, size_t begin) {
  if (continues(text[begin])) return TextPlace::inside_character;
  if (begin == 0 || text[begin - 1] == '\n') return TextPlace::line_start;
  const auto c = first_character(text.substr(begin));
  if (is_white_space(c)) return TextPlace::white_space;
  if (is_digit(c)) return TextPlace::digit;
  if (is_punctuation(c)) return TextPlace::punctuation;
  if (is_chinese(c)) return TextPlace::chinese;
  return ends_in_letter(text.substr(0, begin)) ? TextPlace::word_internal : TextPlace::word_start;
}

}  // namespace dlcm
