#include "dlcm/tokenizer/hugging_face_tokenizer.h"

#include "dlcm/tokenizer/byte_alphabet.h"
#include "dlcm/tokenizer/normalization.h"
#include "dlcm/tokenizer/tokenizer_json.h"
#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <mutex>
#include <optional>

namespace dlcm {
namespace {

constexpr std::array<std::string_view, 6> kEndNames{kEndOfText, "<|end_of_text|>", "<｜end▁of▁sentence｜>",
                                                    "</s>",     "<eos>",           "<|eos|>"};
constexpr std::array<std::string_view, 5> kBeginNames{"<|begin_of_text|>", "<｜begin▁of▁sentence｜>", "<s>", "<bos>",
                                                      kBeginOfText};

std::vector<AddedToken> added_tokens(const TokenizerJson& file, bool normalized) {
  std::vector<AddedToken> tokens;
  std::copy_if(file.added.begin(), file.added.end(), std::back_inserter(tokens),
               [&](const AddedToken& token) { return token.normalized == normalized; });
  return tokens;
}

// The bytes of the model's tokens; none of those that hold what stands for no byte, which no text leads to.
std::vector<std::string> model_bytes(const TokenizerJson& file) {
  std::vector<std::string> bytes;
  bytes.reserve(file.model_tokens.size());
  for (const auto& token : file.model_tokens) bytes.push_back(bytes_of_letters(token).value_or(""));
  return bytes;
}

// The tokens that a whole word takes where the file ignores merges.
std::unordered_map<std::string, int32_t> whole_words(const TokenizerJson& file) {
  std::unordered_map<std::string, int32_t> words;
  if (!file.ignore_merges) return words;
  const auto bytes = model_bytes(file);
  for (size_t id = 0; id < bytes.size(); ++id) {
    if (!bytes[id].empty()) words.emplace(bytes[id], static_cast<int32_t>(id));
  }
  return words;
}

template <size_t size>
std::optional<int32_t> special_named(const TokenizerJson& file, const std::array<std::string_view, size>& names) {
  for (const auto name : names) {
    const auto found = std::find_if(file.added.begin(), file.added.end(),
                                    [&](const AddedToken& token) { return token.special && token.content == name; });
    if (found != file.added.end()) return found->id;
  }
  return std::nullopt;
}

class HuggingFaceTokenizer : public Tokenizer {
 public:
  HuggingFaceTokenizer(std::string serialized, const std::string& where)
      : HuggingFaceTokenizer(read_tokenizer_json(serialized, where), serialized, where) {}

  int64_t vocabulary() const override { return static_cast<int64_t>(pieces_.size()); }
  int64_t end_of_text() const override { return end_of_text_; }
  int64_t begin_of_text() const override { return begin_of_text_; }
  const std::string& serialized() const override { return serialized_; }

  const std::string& piece(int64_t id) const override {
    check(id);
    static const std::string none;
    return is_special_[static_cast<size_t>(id)] ? none : pieces_[static_cast<size_t>(id)];
  }

  std::string display(int64_t id) const override {
    check(id);
    return pieces_[static_cast<size_t>(id)];
  }

  std::vector<int32_t> encode(std::string_view text) const override { return encode(text, false); }
  std::vector<int32_t> encode_with_specials(std::string_view text) const override { return encode(text, true); }

  std::string decode_with_specials(const std::vector<int32_t>& ids) const override {
    std::string text;
    for (const int32_t id : ids) text += display(id);
    return text;
  }

  std::vector<int32_t> add_specials(const std::vector<int32_t>& ids) const override {
    std::vector<int32_t> result = before_;
    result.insert(result.end(), ids.begin(), ids.end());
    result.insert(result.end(), after_.begin(), after_.end());
    return result;
  }

 private:
  HuggingFaceTokenizer(TokenizerJson file, std::string& serialized, const std::string& where)
      : serialized_(std::move(serialized)),
        form_c_(file.form_c),
        added_(added_tokens(file, false)),
        added_normalized_(added_tokens(file, true)),
        pre_tokenizer_(std::move(file.pre_tokenizer)),
        encoder_(file.byte_ids, file.merges, model_bytes(file), whole_words(file)),
        before_(file.before),
        after_(file.after) {
    set_pieces(file);
    const auto end = special_named(file, kEndNames);
    if (!end) {
      throw Error("expected a special token that ends a text in added_tokens of {}, found none of {}: add one", where,
                  fmt::join(kEndNames, ", "));
    }
    end_of_text_ = *end;
    begin_of_text_ = before_.size() == 1 ? before_.front() : special_named(file, kBeginNames).value_or(end_of_text_);
  }

  void set_pieces(const TokenizerJson& file) {
    const auto text_of = [](const std::string& token) { return bytes_of_letters(token).value_or(token); };
    pieces_.resize(file.vocabulary());
    is_special_.resize(pieces_.size());
    for (size_t id = 0; id < file.model_tokens.size(); ++id) pieces_[id] = text_of(file.model_tokens[id]);
    for (const auto& token : file.added) {
      pieces_[static_cast<size_t>(token.id)] = text_of(token.content);
      is_special_[static_cast<size_t>(token.id)] = token.special;
    }
  }

  void check(int64_t id) const {
    if (id < 0 || id >= vocabulary()) throw Error("expected a token id from 0 to {}, found {}", vocabulary() - 1, id);
  }

  std::vector<int32_t> encode(std::string_view text, bool find_special) const {
    if (text.size() >= std::numeric_limits<uint32_t>::max() / 3) {
      throw Error("expected a text of less than {} bytes, found {}: cut it into several documents",
                  std::numeric_limits<uint32_t>::max() / 3, text.size());
    }
    std::string valid;
    if (!is_utf8(text)) text = valid = valid_utf8(text);
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 4 + 8);
    const Borrowed workspace(*this);
    const auto add_words = [&](std::string_view piece, int32_t id) {
      if (id != AddedTokens::kText) return ids.push_back(id);
      pre_tokenizer_.split(piece, [&](std::string_view word) { encoder_.encode(word, *workspace.space, ids); });
    };
    std::string normalized;
    added_.split(text, find_special, [&](std::string_view part, int32_t id) {
      if (id != AddedTokens::kText) return ids.push_back(id);
      if (form_c_) part = normalized_form_c(part, normalized);
      added_normalized_.split(part, find_special, add_words);
    });
    return ids;
  }

  // A workspace for the time of one text; whoever encodes next takes it over, with the words that it remembers.
  struct Borrowed {
    explicit Borrowed(const HuggingFaceTokenizer& from) : owner(from) {
      const std::lock_guard lock(owner.mutex_);
      if (owner.workspaces_.empty()) {
        space = std::make_unique<BytePairEncoder::Workspace>();
      } else {
        space = std::move(owner.workspaces_.back());
        owner.workspaces_.pop_back();
      }
    }
    ~Borrowed() {
      const std::lock_guard lock(owner.mutex_);
      owner.workspaces_.push_back(std::move(space));
    }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;

    const HuggingFaceTokenizer& owner;
    std::unique_ptr<BytePairEncoder::Workspace> space;
  };

  std::string serialized_;
  bool form_c_;
  AddedTokens added_, added_normalized_;
  PreTokenizer pre_tokenizer_;
  BytePairEncoder encoder_;
  std::vector<int32_t> before_, after_;
  std::vector<std::string> pieces_;  // of special tokens too
  std::vector<bool> is_special_;
  int32_t end_of_text_ = -1;
  int32_t begin_of_text_ = -1;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<BytePairEncoder::Workspace>> workspaces_;
};

}  // namespace

std::shared_ptr<const Tokenizer> make_hugging_face_tokenizer(std::string serialized, const std::string& where) {
  return std::make_shared<HuggingFaceTokenizer>(std::move(serialized), where);
}

}  // namespace dlcm
