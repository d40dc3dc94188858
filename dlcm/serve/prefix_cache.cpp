#include "dlcm/serve/prefix_cache.h"

#include <algorithm>

namespace dlcm {
namespace {

size_t common(std::span<const int32_t> left, std::span<const int32_t> right) {
  return static_cast<size_t>(std::mismatch(left.begin(), left.end(), right.begin(), right.end()).first - left.begin());
}

}  // namespace

const PrefixCache::Entry* PrefixCache::find(std::span<const int32_t> ids, double threshold) {
  auto best = entries_.end();
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    const auto length = entry->ids.size();
    if (entry->threshold != threshold || length >= ids.size() ||
        (best != entries_.end() && length <= best->ids.size())) {
      continue;
    }
    if (common(entry->ids, ids) == length) best = entry;
  }
  if (best == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, best);
  return &entries_.front();
}

void PrefixCache::insert(Entry entry) {
  const auto length = static_cast<int64_t>(entry.ids.size());
  if (length < kLeastTokens || length > most_tokens_) return;
  std::erase_if(entries_, [&](const Entry& old) {
    const bool same = old.threshold == entry.threshold && old.ids == entry.ids;
    if (same) tokens_ -= length;
    return same;
  });
  tokens_ += length;
  entries_.push_front(std::move(entry));
  while (tokens_ > most_tokens_ || entries_.size() > kMostEntries) {
    tokens_ -= static_cast<int64_t>(entries_.back().ids.size());
    entries_.pop_back();
  }
}

int64_t PrefixCache::note(std::span<const int32_t> ids) {
  size_t shared = 0;
  for (const auto& other : noted_) shared = std::max(shared, common(other, ids));
  shared = std::min(shared, ids.size() - 1);
  noted_.emplace_front(ids.begin(), ids.end());
  if (noted_.size() > kNoted) noted_.pop_back();
  return static_cast<int64_t>(shared) >= kLeastTokens ? static_cast<int64_t>(shared) : 0;
}

}  // namespace dlcm
