// SentencePiece BPE with a byte-exact round trip.
//
// SentencePiece alone is not exact: it writes a space as U+2581 (so a literal U+2581 would come back as a space) and
// invalid UTF-8 as U+FFFD. Bytes of those, and NUL, are encoded here by the model's byte pieces; everything between
// them by SentencePiece. Long text is encoded in chunks that end between two characters which no piece holds side by
// side: BPE never merges across such a place, so the ids are those of the whole text.
#pragma once

#include "dlcm/tokenizer/tokenizer.h"

namespace dlcm {

// `serialized` is the content of the model file, `where` its name in messages. Throws Error as read_sentencepiece_model
// does. The result may be used by several threads at once.
std::shared_ptr<const Tokenizer> make_sentencepiece_tokenizer(std::string serialized, const std::string& where);

}  // namespace dlcm
