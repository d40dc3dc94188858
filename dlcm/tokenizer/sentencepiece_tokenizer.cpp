#include "dlcm/tokenizer/sentencepiece_tokenizer.h"

#include "dlcm/tokenizer/sentencepiece_model.h"
#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"

#include <sentencepiece_processor.h>

#include <array>
#include <charconv>
#include <unordered_set>

namespace dlcm {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, SentencePiece's space
constexpr size_t kChunkBytes = 1024;                     // chunks end at the first possible place from here on

// Bytes of the character at the front of `text` if SentencePiece keeps it, else 0.
size_t ordinary_character(std::string_view text) {
  const size_t length = utf8_length(text);
  return length == 0 || text.front() == '\0' || text.substr(0, length) == kSpaceMark ? 0 : length;
}

std::string spaces_restored(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t mark = text.find(kSpaceMark);
    result += text.substr(0, mark);
    if (mark == std::string_view::npos) break;
    result += ' ';
    text.remove_prefix(mark + kSpaceMark.size());
  }
  return result;
}

uint64_t character_pair(char32_t left, char32_t right) { return static_cast<uint64_t>(left) << 32 | right; }

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(std::string serialized, const std::string& where) : serialized_(std::move(serialized)) {
    const auto entries = read_sentencepiece_model(serialized_, where);
    const auto status = processor_.LoadFromSerializedProto(serialized_);
    if (!status.ok()) {
      throw Error("expected a SentencePiece model in {}, found one that does not load ({}): train or copy it again",
                  where, status.ToString());
    }
    pieces_.reserve(entries.size());
    for (const auto& entry : entries) add_piece(entry);
  }

  int64_t vocabulary() const override { return static_cast<int64_t>(pieces_.size()); }
  int64_t end_of_text() const override { return end_of_text_; }
  int64_t begin_of_text() const override { return begin_of_text_; }
  const std::string& serialized() const override { return serialized_; }

  const std::string& piece(int64_t id) const override {
    if (id < 0 || id >= vocabulary()) {
      throw Error("expected a token id from 0 to {}, found {}", vocabulary() - 1, id);
    }
    return pieces_[static_cast<size_t>(id)];
  }

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 3);
    std::vector<int> chunk_ids;
    while (!text.empty()) {
      const size_t length = chunk_length(text);
      if (length == 0) {
        ids.push_back(byte_id_[static_cast<unsigned char>(text.front())]);
        text.remove_prefix(1);
        continue;
      }
      const std::string_view chunk = text.substr(0, length);
      const auto status = processor_.Encode(chunk, &chunk_ids);
      if (!status.ok()) throw RuntimeFailure("SentencePiece failed to encode a text: {}", status.ToString());
      append_exactly(chunk, chunk_ids, ids);
      text.remove_prefix(length);
    }
    return ids;
  }

 private:
  void add_piece(const SentencePieceEntry& entry) {
    const auto id = static_cast<int32_t>(pieces_.size());
    std::string bytes;
    if (entry.kind == PieceKind::byte) {  // "<0x41>"
      unsigned byte = 0;
      std::from_chars(entry.text.data() + 3, entry.text.data() + 5, byte, 16);
      byte_id_[byte] = id;
      bytes = static_cast<char>(byte);
    } else if (entry.kind == PieceKind::normal || entry.kind == PieceKind::user_defined) {
      bytes = spaces_restored(entry.text);
      char32_t before = 0;
      for (std::string_view rest = bytes; !rest.empty();) {
        const size_t length = utf8_length(rest);
        const char32_t character = utf8_decode(rest.substr(0, length));
        if (rest.size() != bytes.size()) joined_.insert(character_pair(before, character));
        before = character;
        rest.remove_prefix(length);
      }
    } else if (entry.text == kEndOfText) {
      end_of_text_ = id;
    } else if (entry.text == kBeginOfText) {
      begin_of_text_ = id;
    }
    pieces_.push_back(std::move(bytes));
  }

  // Bytes at the front of `text` that SentencePiece encodes in one call; 0 where the first byte needs a byte piece.
  size_t chunk_length(std::string_view text) const {
    char32_t before = 0;
    size_t length = 0;
    while (const size_t bytes = ordinary_character(text.substr(length))) {
      const char32_t character = utf8_decode(text.substr(length, bytes));
      if (length >= kChunkBytes && !joined_.contains(character_pair(before, character))) break;
      before = character;
      length += bytes;
    }
    return length;
  }

  // Appends the ids of `chunk` after checking that they spell it.
  void append_exactly(std::string_view chunk, const std::vector<int>& chunk_ids, std::vector<int32_t>& ids) const {
    std::string_view rest = chunk;
    for (const int id : chunk_ids) {
      const std::string& bytes = piece(id);
      if (bytes.empty() || !rest.starts_with(bytes)) {
        throw RuntimeFailure(
            "the SentencePiece model does not keep the bytes of a text: its token {} is not what "
            "follows at byte {} of \"{}\"",
            id, chunk.size() - rest.size(), chunk);
      }
      rest.remove_prefix(bytes.size());
      ids.push_back(id);
    }
    if (!rest.empty()) throw RuntimeFailure("the SentencePiece model drops the end of \"{}\"", chunk);
  }

  std::string serialized_;
  sentencepiece::SentencePieceProcessor processor_;
  std::vector<std::string> pieces_;
  std::array<int32_t, 256> byte_id_{};
  int64_t end_of_text_ = -1;
  int64_t begin_of_text_ = -1;
  std::unordered_set<uint64_t> joined_;  // pairs of characters that stand side by side in some piece
};

}  // namespace

std::shared_ptr<const Tokenizer> make_sentencepiece_tokenizer(std::string serialized, const std::string& where) {
  return std::make_shared<SentencePieceTokenizer>(std::move(serialized), where);
}

}  // namespace dlcm
