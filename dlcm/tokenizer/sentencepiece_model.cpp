#include "dlcm/tokenizer/sentencepiece_model.h"

#include "dlcm/io/hash.h"
#include "dlcm/tokenizer/tokenizer.h"
#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>

namespace dlcm {
namespace {

// Tag of field 1000, type "bytes", then the length of 32 hexadecimal digits.
constexpr std::string_view kChecksumTag = "\xC2\x3E\x20";
constexpr size_t kChecksumBytes = 32;

// Field numbers of sentencepiece_model.proto.
constexpr uint64_t kModelPieces = 1, kModelTrainer = 2, kModelNormalizer = 3, kModelDenormalizer = 5,
                   kModelChecksum = 1000;
constexpr uint64_t kPieceText = 1, kPieceScore = 2, kPieceKind = 3;
constexpr uint64_t kTrainerModelType = 3, kTrainerSuffixSpace = 24, kTrainerByteFallback = 35;
constexpr uint64_t kNormalizerCharMap = 2, kNormalizerDummyPrefix = 3, kNormalizerExtraSpaces = 4,
                   kNormalizerEscapeSpaces = 5;
constexpr uint64_t kBpe = 2;

// One field of a message: a number for the types varint and fixed, its bytes for the type "bytes".
struct Field {
  uint64_t number = 0;
  uint64_t value = 0;
  std::string_view bytes;
};

// Walks the fields of a serialized message; every length is checked against what is there.
class MessageReader {
 public:
  MessageReader(std::string_view message, const std::string& where) : rest_(message), where_(where) {}

  bool next(Field& field) {
    if (rest_.empty()) return false;
    const uint64_t tag = varint();
    field = {tag >> 3, 0, {}};
    switch (tag & 7) {
      case 0:
        field.value = varint();
        break;
      case 1:
        field.bytes = take(8);
        break;
      case 2:
        field.bytes = take(varint());
        break;
      case 5:
        field.bytes = take(4);
        break;
      default:
        damaged();
    }
    return true;
  }

 private:
  [[noreturn]] void damaged() const {
    throw Error("expected a SentencePiece model in {}, found a damaged or foreign file: train or copy it again",
                where_);
  }

  std::string_view take(uint64_t length) {
    if (length > rest_.size()) damaged();
    const std::string_view bytes = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return bytes;
  }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1).front());
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    damaged();
  }

  std::string_view rest_;
  const std::string& where_;
};

SentencePieceEntry read_entry(std::string_view message, const std::string& where) {
  SentencePieceEntry entry;
  Field field;
  for (MessageReader reader(message, where); reader.next(field);) {
    if (field.number == kPieceText) {
      entry.text = field.bytes;
    } else if (field.number == kPieceKind) {
      constexpr std::array<uint64_t, 5> kKnown{1, 2, 3, 4, 6};
      if (std::find(kKnown.begin(), kKnown.end(), field.value) == kKnown.end()) {
        throw Error(
            "expected pieces of the types 1, 2, 3, 4 and 6 in {}, found type {}: train the tokenizer with "
            "`dlcm tokenizer train`",
            where, field.value);
      }
      entry.kind = static_cast<PieceKind>(field.value);
    } else if (field.number != kPieceScore) {
      throw Error(
          "expected a SentencePiece model in {}, found a piece with an unknown field {}: train or copy it again", where,
          field.number);
    }
  }
  return entry;
}

// Throws where `condition` does not hold: the model is whole, but not one that keeps every byte.
void require(bool condition, std::string_view what, const std::string& where) {
  if (condition) return;
  throw Error("expected a SentencePiece model with {} in {}, found one without: train it with `dlcm tokenizer train`",
              what, where);
}

void check_trainer(std::string_view message, const std::string& where) {
  uint64_t model_type = 0, byte_fallback = 0, suffix_space = 0;
  Field field;
  for (MessageReader reader(message, where); reader.next(field);) {
    if (field.number == kTrainerModelType) model_type = field.value;
    if (field.number == kTrainerByteFallback) byte_fallback = field.value;
    if (field.number == kTrainerSuffixSpace) suffix_space = field.value;
  }
  require(model_type == kBpe, "type BPE", where);
  require(byte_fallback == 1, "byte fallback", where);
  require(suffix_space == 0, "spaces before words", where);
}

void check_normalizer(std::string_view message, const std::string& where) {
  uint64_t dummy_prefix = 1, extra_spaces = 1, escape_spaces = 1;
  std::string_view character_map;
  Field field;
  for (MessageReader reader(message, where); reader.next(field);) {
    if (field.number == kNormalizerCharMap) character_map = field.bytes;
    if (field.number == kNormalizerDummyPrefix) dummy_prefix = field.value;
    if (field.number == kNormalizerExtraSpaces) extra_spaces = field.value;
    if (field.number == kNormalizerEscapeSpaces) escape_spaces = field.value;
  }
  require(character_map.empty(), "identity normalization", where);
  require(dummy_prefix == 0, "add_dummy_prefix=false", where);
  require(extra_spaces == 0, "remove_extra_whitespaces=false", where);
  require(escape_spaces == 1, "escape_whitespaces=true", where);
}

void check_pieces(const std::vector<SentencePieceEntry>& pieces, const std::string& where) {
  std::set<std::string_view> texts;
  int bytes = 0, specials = 0, newlines = 0;
  for (const auto& piece : pieces) {
    if (piece.text.empty() || !is_utf8(piece.text) || !texts.insert(piece.text).second) {
      throw Error(
          "expected different texts of all pieces in {}, found an empty, repeated or malformed one: train or "
          "copy it again",
          where);
    }
    bytes += piece.kind == PieceKind::byte ? 1 : 0;
    if (piece.kind == PieceKind::control && (piece.text == kEndOfText || piece.text == kBeginOfText)) ++specials;
    if (piece.text == "\n") {
      newlines += piece.kind == PieceKind::user_defined ? 1 : 0;
    } else if (piece.text.find('\n') != std::string::npos) {
      newlines = -1;
      break;
    }
  }
  require(newlines == 1, "newline as a user-defined symbol of its own", where);
  require(specials == 2, fmt::format("the control symbols {} and {}", kEndOfText, kBeginOfText), where);
  require(bytes == 256, "256 byte pieces", where);
  for (int byte = 0; byte < 256; ++byte) require(texts.contains(fmt::format("<0x{:02X}>", byte)), "all bytes", where);
}

}  // namespace

std::vector<SentencePieceEntry> read_sentencepiece_model(std::string_view serialized, const std::string& where) {
  std::vector<SentencePieceEntry> pieces;
  std::optional<std::string_view> trainer, normalizer;
  Field field;
  for (MessageReader reader(serialized, where); reader.next(field);) {
    if (field.number == kModelPieces) {
      pieces.push_back(read_entry(field.bytes, where));
    } else if (field.number == kModelTrainer) {
      trainer = field.bytes;
    } else if (field.number == kModelNormalizer) {
      normalizer = field.bytes;
    } else if (field.number == kModelChecksum) {
      const auto payload =
          serialized.substr(0, static_cast<size_t>(field.bytes.data() - serialized.data()) - kChecksumTag.size());
      if (field.bytes != hash_bytes(payload)) {
        throw Error("expected the checksum {} of the content of {}, found {}: the file is damaged, copy it again",
                    field.bytes, where, hash_bytes(payload));
      }
    } else if (field.number != kModelDenormalizer) {
      throw Error("expected a SentencePiece model in {}, found an unknown field {}: train or copy it again", where,
                  field.number);
    }
  }
  if (pieces.empty() || !trainer || !normalizer) {
    throw Error("expected a SentencePiece model in {}, found a truncated or foreign file: train or copy it again",
                where);
  }
  check_trainer(*trainer, where);
  check_normalizer(*normalizer, where);
  check_pieces(pieces, where);
  return pieces;
}

std::string with_checksum(std::string model) {
  const std::string hash = hash_bytes(model);
  model += kChecksumTag;
  model += hash;
  static_assert(kChecksumTag.size() == 3 && kChecksumTag[2] == kChecksumBytes);
  return model;
}

}  // namespace dlcm
