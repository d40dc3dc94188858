// A tokenizer.json of the byte-level BPE family, with the ids that PyPI's `tokenizers` gives.
//
// decode(encode(x)) is x where x is UTF-8 and the file neither normalizes (then it is the form C of x) nor puts a space
// in front or cuts white space beside added tokens or removes what it splits at. Bytes that are not UTF-8, which that
// library does not take, are encoded as U+FFFD (valid_utf8).
#pragma once

#include "dlcm/tokenizer/tokenizer.h"

namespace dlcm {

// `serialized` is the content of the file, `where` its name in messages. Throws Error as read_tokenizer_json does, and
// where no special token ends a text. The result may be used by several threads at once.
//
// The file does not say which token ends a text and which begins one. It ends with a special token of a known name
// (<|endoftext|>, <|end_of_text|>, <｜end▁of▁sentence｜>, </s>, <eos>, <|eos|>); it begins with the one that the
// post-processor puts first, else one of a known name, else, as lm-evaluation-harness does it, with the one that ends
// it.
std::shared_ptr<const Tokenizer> make_hugging_face_tokenizer(std::string serialized, const std::string& where);

}  // namespace dlcm
