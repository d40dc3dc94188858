#include "dlcm/train/buckets.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace dlcm {
namespace {

// 64 bytes of float: every parameter begins on a cache line.
constexpr int64_t kAlignment = 16;
// Many ranks want larger buckets, so that the message to each stays worth its latency.
constexpr int64_t kBucketElements = int64_t{1} << 20, kElementsPerRank = int64_t{1} << 16;

int64_t rounded_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

Buckets::Buckets(std::vector<int64_t> sizes, int64_t world_size, int64_t bucket_elements)
    : sizes_(std::move(sizes)), world_size_(world_size), places_(sizes_.size()) {
  for (size_t parameter = sizes_.size(); parameter-- > 0;) {
    const int64_t size = rounded_up(sizes_[parameter], kAlignment);
    if (elements_.empty() || elements_.back() + size > bucket_elements) {
      elements_.push_back(0);
      parameters_.emplace_back();
    }
    places_[parameter] = {elements_.size() - 1, elements_.back()};
    elements_.back() += size;
    parameters_.back().push_back(parameter);
  }
  for (auto& elements : elements_) elements = rounded_up(elements, kAlignment * world_size);
}

Buckets::Buckets(std::vector<int64_t> sizes, int64_t world_size)
    : Buckets(std::move(sizes), world_size, std::max(kBucketElements, kElementsPerRank * world_size)) {}

ElementRange Buckets::owned(size_t parameter, int64_t rank) const {
  const auto [bucket, begin] = places_[parameter];
  const int64_t part = part_elements(bucket);
  const int64_t first = std::clamp<int64_t>(rank * part - begin, 0, sizes_[parameter]);
  const int64_t end = std::clamp<int64_t>((rank + 1) * part - begin, 0, sizes_[parameter]);
  return {first, end - first};
}

int64_t Buckets::total_elements() const { return std::accumulate(elements_.begin(), elements_.end(), int64_t{0}); }

int64_t Buckets::largest_elements() const {
  return elements_.empty() ? 0 : *std::max_element(elements_.begin(), elements_.end());
}

}  // namespace dlcm
