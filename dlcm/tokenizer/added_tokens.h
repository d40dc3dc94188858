// Tokens that are found in a text before anything else looks at it, such as <|endoftext|>.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dlcm {

struct AddedToken {
  std::string content;  // as it stands in the text that is searched; not empty
  int32_t id = 0;
  bool special = false;
  bool single_word = false;  // only where no word character stands beside it
  bool strip_left = false;   // white space before it belongs to it
  bool strip_right = false;  // and after it
  bool normalized = false;   // searched for in normalized text
};

// Finds them as PyPI's `tokenizers` does: at each place the longest, from left to right.
class AddedTokens {
 public:
  static constexpr int32_t kText = -1;

  // No two with the same content.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  // Calls `segment(text, id)` for each part of `text` in order: a token, or with kText what is to be encoded. Special
  // tokens count as text unless `find_special`.
  template <typename Segment>
  void split(std::string_view text, bool find_special, Segment segment) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, size_t>> children{};
    int32_t token = -1;  // index in tokens_
  };
  struct Match {
    size_t begin = 0, end = 0;
    const AddedToken* token = nullptr;
  };

  // The first match that begins at `from` or later; one without a token where there is none.
  Match search(std::string_view text, size_t from) const;
  static bool stands_alone(std::string_view text, const Match& match);
  static size_t white_space_before(std::string_view text, size_t end);
  static size_t white_space_after(std::string_view text, size_t begin);

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::array<bool, 256> begins_token_{};
  int only_first_byte_ = -1;  // where all tokens begin with the same byte
};

template <typename Segment>
void AddedTokens::split(std::string_view text, bool find_special, Segment segment) const {
  size_t done = 0;
  size_t from = 0;
  while (!tokens_.empty()) {
    const Match match = search(text, from);
    if (match.token == nullptr) break;
    from = match.end;
    if (match.token->special && !find_special) continue;
    if (match.token->single_word && !stands_alone(text, match)) continue;
    // A token may begin within the white space that one before it has taken.
    const size_t begin = match.token->strip_left ? std::max(white_space_before(text, match.begin), done) : match.begin;
    const size_t end = match.token->strip_right ? white_space_after(text, match.end) : match.end;
    if (done < begin) segment(text.substr(done, begin - done), kText);
    segment(text.substr(begin, end - begin), match.token->id);
    done = end;
  }
  if (done != text.size()) segment(text.substr(done), kText);
}

}  // namespace dlcm
