// Text to token ids and back. decode(encode(x)) == x: for SentencePiece models and plain bytes with any bytes, also
// invalid UTF-8; for a tokenizer.json as hugging_face_tokenizer.h says.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

inline constexpr std::string_view kEndOfText = "<|endoftext|>";
inline constexpr std::string_view kBeginOfText = "<|bos|>";

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual int64_t vocabulary() const = 0;
  virtual int64_t end_of_text() const = 0;
  virtual int64_t begin_of_text() const = 0;

  // Ids of plain text: special-token text inside it is text, no special token is added.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  // The bytes of one token; empty for a special token. Throws Error for an id outside [0, vocabulary()).
  virtual const std::string& piece(int64_t id) const = 0;

  // What the reference library of the tokenizer's file gives for a text: as encode(), but where that library takes
  // special-token text for the special token (Hugging Face), so does this.
  virtual std::vector<int32_t> encode_with_specials(std::string_view text) const { return encode(text); }
  // The inverse: as decode(), but where encode_with_specials() finds special tokens, with their text.
  virtual std::string decode_with_specials(const std::vector<int32_t>& ids) const { return decode(ids); }
  // `ids` of a text with the special tokens around it that a model expects: what the file's post-processor puts there
  // (Hugging Face), else begin_of_text() in front.
  virtual std::vector<int32_t> add_specials(const std::vector<int32_t>& ids) const;
  // What is stored with a checkpoint and a data set so that load_tokenizer gives an equal tokenizer: the content of
  // its file ("bytes" for plain bytes).
  virtual const std::string& serialized() const = 0;

  // The concatenated pieces. Throws Error for an id outside [0, vocabulary()).
  std::string decode(const std::vector<int32_t>& ids) const;
  // Special tokens by their text, all others by their bytes.
  virtual std::string display(int64_t id) const;
  // 128-bit hash of serialized(), as 32 hexadecimal digits; shards carry it.
  std::string hash() const;
  // One entry per id: 1 where the token's text begins with white space or punctuation (the whitespace rule).
  std::vector<uint8_t> opens_word() const;
};

// `source` is "bytes" (256 bytes, then <|endoftext|> = 256 and <|bos|> = 257; no file needed) or the path of a
// SentencePiece model or of a Hugging Face tokenizer.json. Throws Error for a missing, foreign or corrupted file.
std::shared_ptr<const Tokenizer> load_tokenizer(const std::string& source);
// From what serialized() gave; `where` names the origin in messages.
std::shared_ptr<const Tokenizer> tokenizer_from_serialized(const std::string& serialized, const std::string& where);

}  // namespace dlcm
