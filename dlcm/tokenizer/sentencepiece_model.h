// What dlcm needs to know of a SentencePiece model file (a serialized protobuf ModelProto), read without trusting it:
// the library itself may crash on a damaged one, so this reader looks first.
//
// `dlcm tokenizer train` appends one field that SentencePiece ignores: number 1000 of type bytes, the XXH3-128 of
// everything before it. A file that carries it is checked against it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

enum class PieceKind { normal = 1, unknown = 2, control = 3, user_defined = 4, byte = 6 };

struct SentencePieceEntry {
  std::string text;  // as in the file: a space is U+2581, a byte is "<0x41>"
  PieceKind kind = PieceKind::normal;
};

// The vocabulary by id. Throws Error naming `where` where the file is damaged, no SentencePiece model, or one whose
// round trip cannot be byte-exact: it must be a BPE model with byte fallback, identity normalization, no dummy prefix,
// spaces kept, newline a user-defined symbol of its own, and <|endoftext|> and <|bos|> as control symbols.
std::vector<SentencePieceEntry> read_sentencepiece_model(std::string_view serialized, const std::string& where);

// `model`, a whole ModelProto, with its checksum appended.
std::string with_checksum(std::string model);

}  // namespace dlcm
