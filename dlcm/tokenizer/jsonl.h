// `dlcm tokenizer encode` and `decode`: one JSON value a line in, one a line out.
#pragma once

#include "dlcm/tokenizer/tokenizer.h"

#include <iosfwd>

namespace dlcm {

// Each line of `input`, a JSON string, becomes an array of ids in a line of `output`.
// Throws Error naming the line that is no JSON string.
void encode_jsonl(const Tokenizer& tokenizer, std::istream& input, std::ostream& output);

// Each line of `input`, an array of ids, becomes a JSON string in a line of `output`. Special tokens are left out;
// bytes that are not valid UTF-8, which JSON cannot hold, become U+FFFD.
// Throws Error naming the line that is no array of ids of the vocabulary.
void decode_jsonl(const Tokenizer& tokenizer, std::istream& input, std::ostream& output);

}  // namespace dlcm
