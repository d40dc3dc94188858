#include "dlcm/data/shuffled_windows.h"

#include "dlcm/ops/uniform.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace dlcm {

ShuffledWindows::ShuffledWindows(const Dataset& dataset, int64_t seed, int64_t context)
    : stream_(dataset, seed),
      seed_(static_cast<uint64_t>(seed)),
      context_(context),
      windows_per_block_(std::max<int64_t>(1, dataset.tokens() / context)) {}

int64_t ShuffledWindows::window_at(int64_t position) const {
  const int64_t block = position / windows_per_block_;
  const std::lock_guard lock(mutex_);
  if (block != block_) {
    order_.resize(static_cast<size_t>(windows_per_block_));
    std::iota(order_.begin(), order_.end(), block * windows_per_block_);
    for (size_t left = order_.size(); left > 1; --left) {
      const double draw = uniform_draw(seed_, DrawUse::window_order, static_cast<uint64_t>(block), left);
      std::swap(order_[left - 1], order_[static_cast<size_t>(draw * static_cast<double>(left))]);
    }
    block_ = block;
  }
  return order_[static_cast<size_t>(position % windows_per_block_)];
}

Batch ShuffledWindows::window(int64_t position) const {
  return stream_.read(window_at(position) * context_, context_, context_);
}

std::vector<int64_t> ShuffledWindows::offsets(int64_t position) const {
  return stream_.offsets(window_at(position) * context_, context_, context_);
}

int64_t ShuffledWindows::targets(int64_t position) const {
  return stream_.targets(window_at(position) * context_, context_);
}

}  // namespace dlcm
