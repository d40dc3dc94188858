// Training a SentencePiece BPE tokenizer whose round trip is byte-exact.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dlcm {

struct TokenizerTraining {
  std::vector<std::string> inputs{};  // as TextInput takes them, files and folders only
  int64_t vocabulary = 0;             // all ids: <unk>, <|bos|>, <|endoftext|>, newline, 256 bytes, characters, merges
  // Text beyond this is sampled evenly, line by line; the training time grows with what is kept.
  int64_t largest_text_bytes = int64_t{16} << 20;
};

// The content of the trained model file; equal for equal input. The text may hold any bytes; what is not UTF-8 trains
// nothing and stays encoded by bytes. Throws Error where there is no text, or where the text does not support the
// vocabulary (naming the largest that it does) or the vocabulary is too small for the fixed ids.
std::string train_tokenizer(const TokenizerTraining& training);

}  // namespace dlcm
