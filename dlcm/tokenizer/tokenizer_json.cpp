#include "dlcm/tokenizer/tokenizer_json.h"

#include "dlcm/tokenizer/byte_alphabet.h"
#include "dlcm/tokenizer/json_field.h"
#include "dlcm/tokenizer/normalization.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>
#include <unordered_set>

namespace dlcm {
namespace {

// What GPT-2 splits at where `use_regex` of ByteLevel asks for it.
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

constexpr int32_t kLargestId = (1 << 24) - 1;
constexpr size_t kDeepestSequence = 8;

class TokenizerJsonReader {
 public:
  TokenizerJsonReader(const nlohmann::json& root, const std::string& where) : root_(root, where) {}

  TokenizerJson read() {
    root_.allow_only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                      "post_processor", "decoder", "model"});
    if (root_["version"].text() != "1.0") root_["version"].refuse("\"1.0\"");
    for (const auto* part : {"truncation", "padding"}) {
      if (!root_[part].is_null()) root_[part].refuse("null", "dlcm neither cuts nor pads texts, set it to null");
    }
    read_normalizer(root_["normalizer"], 0);
    read_model(root_["model"]);
    read_added_tokens(root_["added_tokens"]);
    read_pre_tokenizer(root_["pre_tokenizer"], 0);
    if (!byte_level_) root_["pre_tokenizer"].refuse("a ByteLevel pre-tokenizer, or a Sequence with one at its end");
    read_post_processor(root_["post_processor"], 0);
    read_decoder(root_["decoder"]);
    return std::move(result_);
  }

 private:
  static void check_depth(const JsonField& sequence, size_t depth) {
    if (depth == kDeepestSequence) sequence.refuse("no more than 8 Sequences within each other");
  }

  void read_normalizer(const JsonField& normalizer, size_t depth) {
    if (normalizer.is_null()) return;
    const auto& type = normalizer["type"].text();
    if (type == "NFC") {
      normalizer.allow_only({"type"});
      result_.form_c = true;
    } else if (type == "Sequence") {
      check_depth(normalizer, depth);
      normalizer.allow_only({"type", "normalizers"});
      normalizer["normalizers"].for_each([&](const JsonField& part) { read_normalizer(part, depth + 1); });
    } else {
      normalizer["type"].refuse("no normalizer but NFC");
    }
  }

  void read_model(const JsonField& model) {
    model.allow_only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                      "byte_fallback", "ignore_merges", "vocab", "merges"});
    if (!model["type"].is_null() && model["type"].text() != "BPE") model["type"].refuse("\"BPE\"");
    const auto dropout = model["dropout"];
    if (!dropout.is_null() && dropout.value() != 0) dropout.refuse("null or 0", "dlcm does not encode at random");
    for (const auto* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!model[affix].is_null() && !model[affix].text().empty()) model[affix].refuse("null or \"\"");
    }
    // unk_token, fuse_unk and byte_fallback tell what to do with letters that are no tokens; every byte's letter is
    // one.
    if (!model["ignore_merges"].is_null()) result_.ignore_merges = model["ignore_merges"].flag();
    read_vocabulary(model["vocab"]);
    read_merges(model["merges"]);
  }

  void read_vocabulary(const JsonField& vocabulary) {
    int32_t largest = -1;
    vocabulary.for_each_member([&](const std::string& token, const JsonField& id) {
      const int32_t number = id.number(kLargestId);
      ids_.emplace(token, number);
      largest = std::max(largest, number);
    });
    // Some files leave ids free, for added tokens or by accident; a file of a few tokens must not claim gigabytes.
    if (static_cast<size_t>(largest + 1) > 4 * ids_.size() + 65536) {
      throw Error("expected ids that are mostly used in {}, found {} tokens and the id {}: number them from 0",
                  vocabulary.place(), ids_.size(), largest);
    }
    model_size_ = ids_.size();
    result_.model_tokens.resize(static_cast<size_t>(largest + 1));
    std::vector<bool> taken(result_.model_tokens.size());
    for (const auto& [token, id] : ids_) {
      const auto index = static_cast<size_t>(id);
      if (taken[index]) {
        throw Error("expected one token for each id in {}, found {} and {} with the id {}: correct one of them",
                    vocabulary.place(), nlohmann::json(result_.model_tokens[index]).dump(),
                    nlohmann::json(token).dump(), id);
      }
      taken[index] = true;
      result_.model_tokens[index] = token;
    }
    for (unsigned byte = 0; byte < 256; ++byte) {
      const auto found = ids_.find(letter_of_byte(static_cast<unsigned char>(byte)));
      if (found == ids_.end()) {
        throw Error(
            "expected a token for each of the 256 bytes in {}, found none for the byte {:#04x} ({}): train the "
            "tokenizer with the whole byte-level alphabet",
            vocabulary.place(), byte, letter_of_byte(static_cast<unsigned char>(byte)));
      }
      result_.byte_ids[byte] = found->second;
    }
  }

  int32_t token_id(const JsonField& merge, const std::string& token) const {
    const auto found = ids_.find(token);
    if (found == ids_.end()) {
      throw Error(
          "expected merges of tokens that are in the vocabulary in {}, found {}: use the file that the "
          "tokenizer was trained to",
          merge.place(), nlohmann::json(token).dump());
    }
    return found->second;
  }

  void read_merges(const JsonField& merges) {
    result_.merges.reserve(merges.size());
    const bool old_format = merges.size() > 0 && merges.value().front().is_string();
    merges.for_each([&](const JsonField& merge) {
      // `#version` lines of a merges.txt are no merges.
      if (old_format && merge.text().starts_with("#version")) return;
      const auto [left, right] = old_format ? halves_of_text(merge) : halves_of_array(merge);
      result_.merges.push_back({token_id(merge, left), token_id(merge, right), token_id(merge, left + right)});
    });
  }

  static std::pair<std::string, std::string> halves_of_text(const JsonField& merge) {
    const auto& text = merge.text();
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      merge.refuse("two tokens with one space between them");
    }
    return {text.substr(0, space), text.substr(space + 1)};
  }

  static std::pair<std::string, std::string> halves_of_array(const JsonField& merge) {
    const auto& halves = merge.value();
    if (!halves.is_array() || halves.size() != 2 || !halves[0].is_string() || !halves[1].is_string()) {
      merge.refuse("an array of two tokens");
    }
    return {halves[0].get<std::string>(), halves[1].get<std::string>()};
  }

  void read_added_tokens(const JsonField& tokens) {
    if (tokens.is_null()) return;
    // As PyPI's `tokenizers` numbers those that are not in the vocabulary.
    auto next = static_cast<int32_t>(model_size_);
    std::unordered_set<std::string> contents;
    tokens.for_each([&](const JsonField& field) {
      field.allow_only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
      AddedToken token{.content = field["content"].text(),
                       .id = field["id"].number(kLargestId),
                       .special = field["special"].flag(),
                       .single_word = field["single_word"].flag(),
                       .strip_left = field["lstrip"].flag(),
                       .strip_right = field["rstrip"].flag(),
                       .normalized = field["normalized"].flag()};
      if (token.content.empty()) field["content"].refuse("text");
      const auto found = ids_.find(token.content);
      const int32_t expected = found != ids_.end() ? found->second : next++;
      if (token.id != expected) {
        field["id"].refuse(fmt::format("{}, the id that comes next or that the vocabulary has for it,", expected),
                           "`tokenizers` itself would give it another id than the file says, correct the file");
      }
      if (token.normalized && result_.form_c) {
        std::string storage;
        token.content = std::string(normalized_form_c(token.content, storage));
      }
      if (!contents.insert(token.content).second) field["content"].refuse("a token that was not added before");
      result_.added.push_back(std::move(token));
    });
  }

  void read_pre_tokenizer(const JsonField& part, size_t depth) {
    if (part.is_null()) return;
    const auto& type = part["type"].text();
    if (type == "Sequence") {
      check_depth(part, depth);
      part.allow_only({"type", "pretokenizers"});
      part["pretokenizers"].for_each([&](const JsonField& inner) { read_pre_tokenizer(inner, depth + 1); });
      return;
    }
    if (byte_level_) part.refuse("nothing behind the ByteLevel pre-tokenizer");
    if (type == "Split") {
      part.allow_only({"type", "pattern", "behavior", "invert"});
      result_.pre_tokenizer.add_split(read_pattern(part["pattern"]), read_behavior(part["behavior"]),
                                      part["invert"].flag());
    } else if (type == "Digits") {
      part.allow_only({"type", "individual_digits"});
      const auto behavior = part["individual_digits"].flag() ? SplitBehavior::isolated : SplitBehavior::contiguous;
      result_.pre_tokenizer.add_split(TextPattern::one_of(numbers_of_unicode_17()), behavior, false);
    } else if (type == "ByteLevel") {
      part.allow_only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
      byte_level_ = true;
      if (part["add_prefix_space"].flag()) result_.pre_tokenizer.add_prefix_space();
      if (part["use_regex"].is_null() || part["use_regex"].flag()) {
        result_.pre_tokenizer.add_split(TextPattern::regex(std::string(kByteLevelPattern), part.place()),
                                        SplitBehavior::isolated, false);
      }
    } else {
      part["type"].refuse("a pre-tokenizer of type Sequence, Split, Digits or ByteLevel");
    }
  }

  static TextPattern read_pattern(const JsonField& pattern) {
    pattern.allow_only({"String", "Regex"});
    const auto regex = pattern["Regex"], literal = pattern["String"];
    if (regex.is_null() == literal.is_null()) pattern.refuse("either a Regex or a String");
    return regex.is_null() ? TextPattern::literal(literal.text()) : TextPattern::regex(regex.text(), regex.place());
  }

  static SplitBehavior read_behavior(const JsonField& behavior) {
    const auto& name = behavior.text();
    if (name == "Removed") return SplitBehavior::removed;
    if (name == "Isolated") return SplitBehavior::isolated;
    if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
    if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
    if (name == "Contiguous") return SplitBehavior::contiguous;
    behavior.refuse("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
  }

  void read_post_processor(const JsonField& processor, size_t depth) {
    if (processor.is_null()) return;
    const auto& type = processor["type"].text();
    if (type == "Sequence") {
      check_depth(processor, depth);
      processor.allow_only({"type", "processors"});
      processor["processors"].for_each([&](const JsonField& inner) { read_post_processor(inner, depth + 1); });
    } else if (type == "TemplateProcessing") {
      processor.allow_only({"type", "single", "pair", "special_tokens"});
      if (template_) processor.refuse("no second TemplateProcessing");
      template_ = true;
      read_template(processor);
    } else if (type != "ByteLevel") {  // which moves offsets, and no ids
      processor["type"].refuse("a post-processor of type Sequence, TemplateProcessing or ByteLevel");
    }
  }

  void read_template(const JsonField& processor) {
    bool text_seen = false;
    processor["single"].for_each([&](const JsonField& piece) {
      piece.allow_only({"SpecialToken", "Sequence"});
      if (!piece["Sequence"].is_null()) {
        if (text_seen || piece["Sequence"]["id"].text() != "A") piece.refuse("the sequence A, once");
        text_seen = true;
        return;
      }
      const auto special = processor["special_tokens"][piece["SpecialToken"]["id"].text()];
      special["ids"].for_each([&](const JsonField& id) {
        const int32_t number = id.number(static_cast<int32_t>(result_.vocabulary()) - 1);
        (text_seen ? result_.after : result_.before).push_back(number);
      });
    });
    if (!text_seen) processor["single"].refuse("a template with the sequence A");
  }

  static void read_decoder(const JsonField& decoder) {
    if (decoder.is_null() || decoder["type"].text() != "ByteLevel") decoder.refuse("the decoder ByteLevel");
  }

  JsonField root_;
  TokenizerJson result_;
  std::unordered_map<std::string, int32_t> ids_;  // of the model's vocabulary
  size_t model_size_ = 0;
  bool byte_level_ = false, template_ = false;
};

}  // namespace

size_t TokenizerJson::vocabulary() const {
  size_t size = model_tokens.size();
  for (const auto& token : added) size = std::max(size, static_cast<size_t>(token.id) + 1);
  return size;
}

TokenizerJson read_tokenizer_json(const std::string& serialized, const std::string& where) {
  const auto root = nlohmann::json::parse(serialized, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) {
    throw Error("expected JSON in {}, found a damaged or cut off file: copy it again", where);
  }
  return TokenizerJsonReader(root, where).read();
}

}  // namespace dlcm
