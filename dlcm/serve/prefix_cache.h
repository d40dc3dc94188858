// Beginnings of texts that have been read, kept for the next text that begins like them (prefix reuse).
//
// A sequence of the engine can be forked where it stands but not cut back. What is kept are therefore sequences at
// places where others are likely to part from them: ends of finished texts (a dialogue goes on from there) and places
// at which two prompts did part. A fork shares full pages with its origin, so what is held is little more than once.
#pragma once

#include "dlcm/infer/sequence.h"

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <vector>

namespace dlcm {

class PrefixCache {
 public:
  struct Entry {
    std::vector<int32_t> ids;  // that the sequence has read
    double threshold = 0.0;    // with which it was cut into concepts
    std::unique_ptr<Sequence> sequence;
  };

  // Holds at most `most_tokens` in all, the last used ones.
  explicit PrefixCache(int64_t most_tokens) : most_tokens_(most_tokens) {}

  // The entry with the longest beginning of `ids` that leaves at least one of them to be read; null where none is worth
  // the fork. Valid until the next call.
  const Entry* find(std::span<const int32_t> ids, double threshold);
  void insert(Entry entry);
  void clear() { entries_.clear(), tokens_ = 0; }

  // Notes a prompt. Returns how many of its first ids it has in common with one noted before: the largest such number
  // that leaves one id to be read, 0 where it is not worth keeping.
  int64_t note(std::span<const int32_t> ids);

  int64_t tokens() const { return tokens_; }

  static constexpr int64_t kLeastTokens = 16;  // a shorter beginning is read again

 private:
  static constexpr size_t kNoted = 64;
  static constexpr size_t kMostEntries = 64;

  int64_t most_tokens_;
  int64_t tokens_ = 0;
  std::list<Entry> entries_;               // the last used first
  std::list<std::vector<int32_t>> noted_;  // prompts, the last first
};

}  // namespace dlcm
