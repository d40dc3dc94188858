// The tokenizer that needs no file: one id per byte, then <|endoftext|> = 256 and <|bos|> = 257.
#pragma once

#include "dlcm/tokenizer/tokenizer.h"

namespace dlcm {

inline constexpr std::string_view kByteTokenizerName = "bytes";

std::shared_ptr<const Tokenizer> make_byte_tokenizer();

}  // namespace dlcm
