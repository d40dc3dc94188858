#include "dlcm/eval/python_text.h"

#include "dlcm/util/utf8.h"

#include <unicode/locid.h>
#include <unicode/unistr.h>

#include <algorithm>

namespace dlcm {
namespace {

// str.isspace(): bidirectional class WS, B or S, or category Zs.
bool is_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F ||
         code == 0x205F || code == 0x3000;
}

bool continues_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

std::string_view last_character(std::string_view text) {
  size_t begin = text.size() - 1;
  while (begin > 0 && continues_character(text[begin])) --begin;
  return text.substr(begin);
}

}  // namespace

std::string_view python_trailing_space(std::string_view text) {
  auto kept = text;
  while (!kept.empty()) {
    const auto character = last_character(kept);
    if (!is_space(utf8_decode(character))) break;
    kept.remove_suffix(character.size());
  }
  return text.substr(kept.size());
}

std::string_view python_strip(std::string_view text) {
  text.remove_suffix(python_trailing_space(text).size());
  while (!text.empty()) {
    const auto character = text.substr(0, utf8_length(text));
    if (!is_space(utf8_decode(character))) break;
    text.remove_prefix(character.size());
  }
  return text;
}

std::string python_capitalize(std::string_view text) {
  if (text.empty()) return {};
  const auto& root = icu::Locale::getRoot();
  const auto whole = icu::UnicodeString::fromUTF8({text.data(), static_cast<int32_t>(text.size())});
  const icu::UnicodeString first(whole.char32At(0));
  const int32_t lower_first = icu::UnicodeString(first).toLower(root).length();
  auto capitalized = icu::UnicodeString(first).toTitle(nullptr, root);
  // Lower case depends on the neighbours (a final sigma), so the first character is part of the word, too.
  capitalized.append(icu::UnicodeString(whole).toLower(root), lower_first, INT32_MAX);
  std::string result;
  capitalized.toUTF8String(result);
  return result;
}

std::string python_replace(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  for (size_t place; (place = text.find(from)) != std::string_view::npos; text.remove_prefix(place + from.size())) {
    result.append(text.substr(0, place)).append(to);
  }
  return result.append(text);
}

size_t python_length(std::string_view text) {
  return text.size() - static_cast<size_t>(std::count_if(text.begin(), text.end(), continues_character));
}

}  // namespace dlcm
