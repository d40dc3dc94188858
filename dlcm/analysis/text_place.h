// What kind of place in a text a token begins at.
#pragma once

#include <array>
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

// `before` is the text up to the token, `token` its bytes, not empty.
TextPlace place_in_text(std::string_view before, std::string_view token);

}  // namespace dlcm
