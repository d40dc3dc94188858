// `dlcm tokenizer encode` and `decode`: one JSON value a line in, one a line out.
#pragma once

#include "dlcm/tokenizer/tokenizer.h"

#include <nlohmann/json_fwd.hpp>

#include <iosfwd>
#include <optional>

namespace dlcm {

// The ids of a JSON array of whole numbers of the vocabulary; nothing for any other value.
std::optional<std::vector<int32_t>> ids_of_json(const Tokenizer& tokenizer, const nlohmann::json& value);

// Lines that are there already are converted together by all cores; each is answered before more are waited for.

// Each line of `input`, a JSON string, becomes an array of ids in a line of `output`: those that the reference library
// of the tokenizer's file gives (encode_with_specials), and with `add_specials` the special tokens around them
// (Tokenizer::add_specials). Throws Error naming the line that is no JSON string.
void encode_jsonl(const Tokenizer& tokenizer, std::istream& input, std::ostream& output, bool add_specials = false);

// Each line of `input`, an array of ids, becomes a JSON string in a line of `output` (decode_with_specials). Bytes that
// are not valid UTF-8, which JSON cannot hold, become U+FFFD.
// Throws Error naming the line that is no array of ids of the vocabulary.
void decode_jsonl(const Tokenizer& tokenizer, std::istream& input, std::ostream& output);

}  // namespace dlcm
