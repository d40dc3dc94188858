// Text that arrives token by token: holds back the bytes of a character until it is whole.
#pragma once

#include <string>
#include <string_view>

namespace dlcm {

class TextStream {
 public:
  // The bytes that can be shown now that `bytes` have come: all but a possible beginning of a UTF-8 character at the
  // end. Bytes that can be no part of one pass through.
  std::string push(std::string_view bytes);
  // What is still held back.
  std::string finish();

 private:
  std::string held_;
};

// `text` with U+FFFD in place of every byte that is no part of a well-formed character.
std::string valid_utf8(std::string_view text);

}  // namespace dlcm
