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

}  // namespace dlcm
