// Reading a Hugging Face tokenizer.json of the byte-level BPE family: GPT-2, Llama-3, Qwen, DeepSeek-V3.
#pragma once

#include "dlcm/tokenizer/added_tokens.h"
#include "dlcm/tokenizer/byte_pair_encoder.h"
#include "dlcm/tokenizer/pre_tokenizer.h"

#include <array>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace dlcm {

// What a tokenizer.json says, checked.
struct TokenizerJson {
  bool form_c = false;  // text is normalized
  PreTokenizer pre_tokenizer{};

  // The vocabulary of the model by id, in letters (byte_alphabet.h); empty for an id that no token has.
  std::vector<std::string> model_tokens{};
  std::vector<AddedToken> added{};
  std::array<int32_t, 256> byte_ids{};
  std::vector<BytePairEncoder::Merge> merges{};
  bool ignore_merges = false;

  // The special tokens that the post-processor puts before and after a text.
  std::vector<int32_t> before{}, after{};

  // All ids are below.
  size_t vocabulary() const;
};

// Throws Error, naming `where` and the part, for a file that is damaged, or has a part that dlcm does not know or that
// has no meaning in this family: nothing is ever left out.
TokenizerJson read_tokenizer_json(const std::string& serialized, const std::string& where);

}  // namespace dlcm
