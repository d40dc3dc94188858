#include "dlcm/tokenizer/train.h"

#include "dlcm/tokenizer/sentencepiece_model.h"
#include "dlcm/tokenizer/sentencepiece_tokenizer.h"
#include "dlcm/tokenizer/text_input.h"
#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"

#include <fmt/ranges.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <iostream>
#include <thread>
#include <unordered_map>
#include <unordered_set>

namespace dlcm {
namespace {

constexpr int64_t kFixedIds = 4 + 256;  // <unk>, <|bos|>, <|endoftext|>, newline, bytes
constexpr int64_t kLargestVocabulary = int64_t{1} << 20;
constexpr size_t kSentenceBytes = 4000;  // SentencePiece drops sentences above 4192 bytes

// Whether a piece may hold the character: SentencePiece uses U+2581 for a space, U+2585 and tab as marks of its own.
bool trainable(char32_t character) {
  return character != 0 && character != '\n' && character != '\t' && character != 0x2581 && character != 0x2585;
}

// The lines of the input, cut where no piece can join anyway (untrainable characters, bytes that are not UTF-8) and
// where they are too long, and how often each character occurs in them.
struct Sentences {
  std::vector<std::string> sentences;
  std::unordered_map<char32_t, int64_t> counts;

  void add_line(std::string_view line) {
    std::string sentence;
    const auto finish = [&] {
      if (!sentence.empty()) sentences.push_back(std::move(sentence));
      sentence.clear();
    };
    while (!line.empty()) {
      const size_t length = utf8_length(line);
      const std::string_view bytes = line.substr(0, std::max<size_t>(length, 1));
      line.remove_prefix(bytes.size());
      const char32_t character = length == 0 ? 0 : utf8_decode(bytes);
      const bool keep = trainable(character);
      if (!keep || sentence.size() + bytes.size() > kSentenceBytes) finish();
      if (!keep) continue;
      sentence += bytes;
      ++counts[character];
    }
    finish();
  }
};

Sentences read_sentences(const TokenizerTraining& training) {
  TextInput input(training.inputs, std::cin);
  const double share = std::min(
      1.0, static_cast<double>(training.largest_text_bytes) / static_cast<double>(std::max<int64_t>(input.bytes(), 1)));
  Sentences result;
  double credit = 0;  // bytes that may still be taken so that the share taken so far is `share`
  std::string document;
  while (input.next(document)) {
    std::string_view rest = document;
    while (!rest.empty()) {
      const std::string_view line = rest.substr(0, std::min(rest.find('\n'), rest.size() - 1) + 1);
      rest.remove_prefix(line.size());
      const auto bytes = static_cast<double>(line.size());
      credit += share * bytes;
      if (share < 1.0 && credit < bytes) continue;
      credit -= bytes;
      result.add_line(line);
    }
  }
  if (result.sentences.empty()) {
    throw Error("expected text to train a tokenizer on in {}, found none", fmt::join(training.inputs, ", "));
  }
  return result;
}

// The `most` most frequent characters, fewer where those cover `coverage` of the text.
std::unordered_set<char32_t> frequent_characters(const Sentences& text, size_t most, double coverage) {
  std::vector<std::pair<int64_t, char32_t>> order;  // most frequent first
  int64_t characters = 0;
  for (const auto& [character, count] : text.counts) {
    order.emplace_back(-count, character);
    characters += count;
  }
  std::sort(order.begin(), order.end());
  std::unordered_set<char32_t> kept;
  int64_t covered = 0;
  for (const auto& [negative_count, character] : order) {
    if (kept.size() == most || static_cast<double>(covered) >= coverage * static_cast<double>(characters)) break;
    kept.insert(character);
    covered -= negative_count;
  }
  return kept;
}

// Hands SentencePiece the sentences, cut at characters that are not in `kept`.
class KeptSentences : public sentencepiece::SentenceIterator {
 public:
  KeptSentences(const std::vector<std::string>& sentences, const std::unordered_set<char32_t>& kept)
      : sentences_(sentences), kept_(kept) {
    Next();
  }
  bool done() const override { return value_.empty(); }
  const std::string& value() const override { return value_; }
  sentencepiece::util::Status status() const override { return {}; }

  void Next() override {
    value_.clear();
    for (; index_ < sentences_.size(); ++index_, position_ = 0) {
      const std::string_view sentence = sentences_[index_];
      while (position_ < sentence.size()) {
        const std::string_view rest = sentence.substr(position_);
        const std::string_view character = rest.substr(0, utf8_length(rest));
        position_ += character.size();
        if (kept_.contains(utf8_decode(character))) {
          value_ += character;
        } else if (!value_.empty()) {
          return;
        }
      }
      if (value_.empty()) continue;
      ++index_;
      position_ = 0;
      return;
    }
  }

 private:
  const std::vector<std::string>& sentences_;
  const std::unordered_set<char32_t>& kept_;
  size_t index_ = 0;
  size_t position_ = 0;  // first byte of sentences_[index_] that has not been read
  std::string value_;
};

// A whole model file; its vocabulary is smaller than asked for where the sentences do not hold enough merges.
std::string train_on(const Sentences& text, const std::unordered_set<char32_t>& kept, int64_t vocabulary) {
  KeptSentences iterator(text.sentences, kept);
  const std::unordered_map<std::string, std::string> settings{
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(vocabulary)},
      {"hard_vocab_limit", "false"},
      {"character_coverage", "1.0"},
      {"byte_fallback", "true"},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "false"},
      {"remove_extra_whitespaces", "false"},
      {"allow_whitespace_only_pieces", "true"},
      {"user_defined_symbols", "\n"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"bos_piece", std::string(kBeginOfText)},
      {"eos_id", "2"},
      {"eos_piece", std::string(kEndOfText)},
      {"pad_id", "-1"},
      {"num_threads", std::to_string(std::max(1u, std::thread::hardware_concurrency()))},
      {"minloglevel", "3"},
  };
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(settings, &iterator, &model);
  if (!status.ok()) throw RuntimeFailure("SentencePiece failed to train a tokenizer: {}", status.ToString());
  return with_checksum(std::move(model));
}

}  // namespace

std::string train_tokenizer(const TokenizerTraining& training) {
  const int64_t free_ids = training.vocabulary - kFixedIds;
  if (free_ids < 1 || training.vocabulary > kLargestVocabulary) {
    throw Error(
        "expected a vocabulary from {} (more than the {} fixed ids: specials, newline, bytes) to {}, found {}: "
        "choose another --vocab-size",
        kFixedIds + 1, kFixedIds, kLargestVocabulary, training.vocabulary);
  }
  const Sentences text = read_sentences(training);
  // Rare characters stay encoded by bytes, and half of the free ids are kept for merges. Where the text does not hold
  // so many merges, further characters take their place.
  auto most = static_cast<size_t>((free_ids + 1) / 2);
  double coverage = 0.9995;
  while (true) {
    const auto kept = frequent_characters(text, most, coverage);
    std::string model = train_on(text, kept, training.vocabulary);
    const int64_t found = make_sentencepiece_tokenizer(model, "the trained model")->vocabulary();
    if (found == training.vocabulary) return model;
    if (kept.size() == text.counts.size()) {
      throw Error(
          "expected text that supports a vocabulary of {}, found {} to support at most {}: choose a smaller "
          "--vocab-size or give more text",
          training.vocabulary, fmt::join(training.inputs, ", "), found);
    }
    most = kept.size() + static_cast<size_t>(training.vocabulary - found);
    coverage = 1.0;
  }
}

}  // namespace dlcm
