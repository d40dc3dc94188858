// UTF-8 as the Unicode standard defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dlcm {

// Bytes (1 to 4) of the well-formed character at the front of `text`; 0 where there is none.
size_t utf8_length(std::string_view text);
// The code point of `character`, which must be one well-formed character.
char32_t utf8_decode(std::string_view character);
bool is_utf8(std::string_view text);
// Appends `code`, which must be no surrogate and at most U+10FFFF.
void utf8_append(std::string& text, char32_t code);
// `text` with U+FFFD in place of what is not UTF-8: one for each byte that no character begins with, and one for each
// character that is cut off, as the Unicode standard recommends and Python (errors="replace") and Rust do.
std::string valid_utf8(std::string_view text);

}  // namespace dlcm
