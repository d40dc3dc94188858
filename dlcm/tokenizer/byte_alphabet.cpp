#include "dlcm/tokenizer/byte_alphabet.h"

#include "dlcm/util/utf8.h"

#include <array>
#include <cstdint>

namespace dlcm {
namespace {

constexpr char32_t kFirstSubstitute = 0x100;
constexpr size_t kLetters = 0x144;  // beyond the last one

struct Alphabet {
  std::array<char32_t, 256> letter{};
  std::array<int16_t, kLetters> byte{};  // -1: no byte's letter
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.byte.fill(-1);
  char32_t substitute = kFirstSubstitute;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
    const char32_t letter = printable ? byte : substitute++;
    alphabet.letter[byte] = letter;
    alphabet.byte[letter] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string letter_of_byte(unsigned char byte) {
  std::string letter;
  utf8_append(letter, kAlphabet.letter[byte]);
  return letter;
}

std::optional<std::string> bytes_of_letters(std::string_view letters) {
  std::string bytes;
  bytes.reserve(letters.size());
  while (!letters.empty()) {
    const size_t length = utf8_length(letters);
    const char32_t letter = utf8_decode(letters.substr(0, length));
    if (letter >= kLetters || kAlphabet.byte[letter] < 0) return std::nullopt;
    bytes += static_cast<char>(kAlphabet.byte[letter]);
    letters.remove_prefix(length);
  }
  return bytes;
}

}  // namespace dlcm
