#include "dlcm/tokenizer/tokenizer.h"

#include "dlcm/io/files.h"
#include "dlcm/io/hash.h"
#include "dlcm/tokenizer/byte_tokenizer.h"
#include "dlcm/tokenizer/hugging_face_tokenizer.h"
#include "dlcm/tokenizer/sentencepiece_tokenizer.h"
#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"

#include <algorithm>
#include <array>
#include <utility>

namespace dlcm {
namespace {

// White space and punctuation outside ASCII, as closed ranges: Latin-1, general punctuation, CJK, full-width forms.
using Range = std::pair<char32_t, char32_t>;
constexpr std::array kOpeningRanges{
    Range{0x85, 0x85},     Range{0xA0, 0xA1},     Range{0xA7, 0xA7},     Range{0xAB, 0xAB},     Range{0xB6, 0xB7},
    Range{0xBB, 0xBB},     Range{0xBF, 0xBF},     Range{0x1680, 0x1680}, Range{0x2000, 0x200A}, Range{0x2010, 0x2029},
    Range{0x202F, 0x205F}, Range{0x3000, 0x3003}, Range{0x3008, 0x3011}, Range{0x3014, 0x301F}, Range{0xFF01, 0xFF0F},
    Range{0xFF1A, 0xFF20}, Range{0xFF3B, 0xFF40}, Range{0xFF5B, 0xFF65}};

bool opens(std::string_view text) {
  const size_t length = utf8_length(text);
  if (length == 0) return false;
  const char32_t code = utf8_decode(text.substr(0, length));
  if (code < 0x80) {
    const bool white = code == ' ' || (code >= '\t' && code <= '\r');
    const bool letter_or_digit =
        (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') || (code >= 'a' && code <= 'z');
    return white || (code > ' ' && code < 0x7F && !letter_or_digit);
  }
  return std::any_of(kOpeningRanges.begin(), kOpeningRanges.end(),
                     [&](const auto& range) { return code >= range.first && code <= range.second; });
}

}  // namespace

std::string Tokenizer::decode(const std::vector<int32_t>& ids) const {
  std::string text;
  for (const int32_t id : ids) text += piece(id);
  return text;
}

std::vector<int32_t> Tokenizer::add_specials(const std::vector<int32_t>& ids) const {
  std::vector<int32_t> result{static_cast<int32_t>(begin_of_text())};
  result.insert(result.end(), ids.begin(), ids.end());
  return result;
}

std::string Tokenizer::display(int64_t id) const {
  if (id == end_of_text()) return std::string(kEndOfText);
  if (id == begin_of_text()) return std::string(kBeginOfText);
  return piece(id);
}

std::string Tokenizer::hash() const { return hash_bytes(serialized()); }

std::vector<uint8_t> Tokenizer::opens_word() const {
  std::vector<uint8_t> result(static_cast<size_t>(vocabulary()));
  for (int64_t id = 0; id < vocabulary(); ++id) result[static_cast<size_t>(id)] = opens(piece(id)) ? 1 : 0;
  return result;
}

std::shared_ptr<const Tokenizer> load_tokenizer(const std::string& source) {
  if (source == kByteTokenizerName) return make_byte_tokenizer();
  return tokenizer_from_serialized(read_file(source), source);
}

std::shared_ptr<const Tokenizer> tokenizer_from_serialized(const std::string& serialized, const std::string& where) {
  if (serialized == kByteTokenizerName) return make_byte_tokenizer();
  if (serialized.empty()) throw Error("expected a tokenizer in {}, found an empty file: train or copy it again", where);
  const size_t first = serialized.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && serialized[first] == '{') return make_hugging_face_tokenizer(serialized, where);
  return make_sentencepiece_tokenizer(serialized, where);
}

}  // namespace dlcm
