// The order in which training sees a data set's token stream: its windows of `context` tokens, shuffled. A step of a
// few windows then mixes as many documents, where neighbouring windows would mostly be one long document's, and its
// gradient and its tokens per concept are those of the corpus rather than of one text.
#pragma once

#include "dlcm/data/dataset.h"

#include <cstdint>
#include <mutex>
#include <vector>

namespace dlcm {

// Blocks of as many windows as the data set fills are shuffled one by one, keyed by (seed, block): window w of the
// order is a pure function of (seed, w), and every token is seen about once in each pass. Safe to read from threads.
class ShuffledWindows {
 public:
  // The data set must outlive this.
  ShuffledWindows(const Dataset& dataset, int64_t seed, int64_t context);

  // The context's tokens at `position` of the order.
  Batch window(int64_t position) const;
  // The edges of its document pieces, without its tokens.
  std::vector<int64_t> offsets(int64_t position) const;
  // How many of them have a target.
  int64_t targets(int64_t position) const;

 private:
  // The window of the stream that stands at `position` of the order.
  int64_t window_at(int64_t position) const;

  TokenStream stream_;
  uint64_t seed_;
  int64_t context_, windows_per_block_;
  mutable std::mutex mutex_;
  mutable int64_t block_ = -1;
  mutable std::vector<int64_t> order_;  // of block_
};

}  // namespace dlcm
