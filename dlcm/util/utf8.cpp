#include "dlcm/util/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace dlcm {
namespace {

// Bytes at the front of `text`, which begins with no character, that one U+FFFD stands for: the longest beginning of a
// character, or else one byte.
size_t broken_length(std::string_view text) {
  std::string beginning;
  for (size_t count = std::min<size_t>(3, text.size()); count > 1; --count) {
    // Whether a beginning can go on depends on its second byte only; 0x80 continues any that can.
    beginning.assign(text.substr(0, count));
    while (beginning.size() < 4) {
      beginning += '\x80';
      if (utf8_length(beginning) == beginning.size()) return count;
    }
  }
  return 1;
}

}  // namespace

size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t index) { return static_cast<unsigned char>(text[index]); };
  const auto trails = [&](size_t index, unsigned char low, unsigned char high) {
    return index < text.size() && byte(index) >= low && byte(index) <= high;
  };
  const auto trail = [&](size_t index) { return trails(index, 0x80, 0xBF); };
  if (text.empty()) return 0;
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0;
  if (lead < 0xE0) return trail(1) ? 2 : 0;
  if (lead < 0xF0) return trails(1, lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF) && trail(2) ? 3 : 0;
  if (lead > 0xF4) return 0;
  return trails(1, lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF) && trail(2) && trail(3) ? 4 : 0;
}

char32_t utf8_decode(std::string_view character) {
  const auto byte = [&](size_t index) { return static_cast<char32_t>(static_cast<unsigned char>(character[index])); };
  if (character.size() == 1) return byte(0);
  char32_t code = byte(0) & (0x7Fu >> character.size());
  for (size_t index = 1; index < character.size(); ++index) code = code << 6 | (byte(index) & 0x3F);
  return code;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    uint64_t block;
    if (text.size() >= sizeof block) {  // eight ASCII bytes at once
      std::memcpy(&block, text.data(), sizeof block);
      if ((block & 0x8080808080808080ull) == 0) {
        text.remove_prefix(sizeof block);
        continue;
      }
    }
    const size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

void utf8_append(std::string& text, char32_t code) {
  const auto add = [&](char32_t byte) { text += static_cast<char>(byte); };
  const auto add_trail = [&](int shift) { add(0x80 | (code >> shift & 0x3F)); };
  if (code < 0x80) return add(code);
  if (code < 0x800) {
    add(0xC0 | code >> 6);
  } else if (code < 0x10000) {
    add(0xE0 | code >> 12);
    add_trail(6);
  } else {
    add(0xF0 | code >> 18);
    add_trail(12);
    add_trail(6);
  }
  add_trail(0);
}

std::string valid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    size_t length = utf8_length(text);
    if (length == 0) {
      valid += "\uFFFD";
      length = broken_length(text);
    } else {
      valid += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return valid;
}

}  // namespace dlcm
