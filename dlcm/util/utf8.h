// UTF-8 as the Unicode standard defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <string_view>

namespace dlcm {

// Bytes (1 to 4) of the well-formed character at the front of `text`; 0 where there is none.
size_t utf8_length(std::string_view text);
// The code point of `character`, which must be one well-formed character.
char32_t utf8_decode(std::string_view character);
bool is_utf8(std::string_view text);

}  // namespace dlcm
