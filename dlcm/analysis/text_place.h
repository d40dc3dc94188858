// What kind of place in a text a token begins at.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace dlcm {

enum class TextPlace {
  line_start,   // first of a line, whatever it begins with
  white_space,  // it begins with white space, as words do in most tokenizers
  punctuation,
  digit,
  chinese,          // a Chinese character
  word_start,       // a letter after none
  word_internal,    // a letter after a letter
  inside_character  // bytes within a character
};
inline constexpr std::array<std::string_view, 8> kTextPlaces{"line start",    "white space",       "punctuation",
                                                             "digit",         "Chinese character", "word start",
                                                             "word-internal", "inside a character"};

// Of the token that begins at the byte `begin` of the whole `text`, below its size. A token may hold only the first
// bytes of a character: it counts as the character that they begin, and the tokens of the other bytes as inside it.
TextPlace place_in_text(std::string_view text, size_t begin);

}  // namespace dlcm
