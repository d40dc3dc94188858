#include "dlcm/infer/text_stream.h"

#include "dlcm/util/utf8.h"

#include <algorithm>
#include <utility>

namespace dlcm {
namespace {

// Whether more bytes could make `text` one well-formed character: its next byte is free from 0x80 or up to 0xBF.
bool begins_character(std::string_view text) {
  for (const char next : {'\x80', '\xBF'}) {
    std::string whole(text);
    while (whole.size() < 4) {
      whole += whole.size() == text.size() ? next : '\x80';
      if (utf8_length(whole) == whole.size()) return true;
    }
  }
  return false;
}

// Bytes at the end of `text` that may be the beginning of a character.
size_t unfinished_bytes(std::string_view text) {
  for (size_t count = 1; count <= std::min<size_t>(3, text.size()); ++count) {
    if (begins_character(text.substr(text.size() - count))) return count;
  }
  return 0;
}

}  // namespace

std::string TextStream::push(std::string_view bytes) {
  held_ += bytes;
  const size_t shown = held_.size() - unfinished_bytes(held_);
  std::string text = held_.substr(0, shown);
  held_.erase(0, shown);
  return text;
}

std::string TextStream::finish() { return std::exchange(held_, {}); }

}  // namespace dlcm
