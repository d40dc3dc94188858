#include "dlcm/tokenizer/byte_tokenizer.h"

#include "dlcm/util/error.h"

#include <array>

namespace dlcm {
namespace {

class ByteTokenizer : public Tokenizer {
 public:
  ByteTokenizer() {
    for (size_t byte = 0; byte < 256; ++byte) pieces_[byte] = std::string(1, static_cast<char>(byte));
  }

  int64_t vocabulary() const override { return 258; }
  int64_t end_of_text() const override { return 256; }
  int64_t begin_of_text() const override { return 257; }

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids(text.size());
    for (size_t index = 0; index < text.size(); ++index) ids[index] = static_cast<unsigned char>(text[index]);
    return ids;
  }

  const std::string& piece(int64_t id) const override {
    if (id < 0 || id >= vocabulary()) {
      throw Error("expected a token id from 0 to {}, found {}", vocabulary() - 1, id);
    }
    return pieces_[static_cast<size_t>(id)];
  }

  const std::string& serialized() const override { return serialized_; }

 private:
  std::array<std::string, 258> pieces_;  // the last two, special tokens, stay empty
  std::string serialized_{kByteTokenizerName};
};

}  // namespace

std::shared_ptr<const Tokenizer> make_byte_tokenizer() { return std::make_shared<ByteTokenizer>(); }

}  // namespace dlcm
