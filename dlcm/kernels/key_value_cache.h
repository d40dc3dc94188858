// Keys and values of one sequence as attention reads them while the sequence grows: blocks of 64 places, in each of
// which a head's keys lie transposed (places are lanes) and its values in panels of 32 dimensions; bfloat16 as
// InterleavedBfloat16.
#pragma once

#include "dlcm/kernels/thread_pool.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace dlcm {

enum class CacheFormat { float32, bfloat16 };

inline constexpr int64_t kCacheBlock = 64;  // places

struct CacheShape {
  CacheFormat format = CacheFormat::float32;
  int64_t kv_heads = 1, head_size = 1;

  int64_t value_bytes() const { return format == CacheFormat::float32 ? 4 : 2; }
  // Bytes of a block; of it, the head's keys [2 panels][head_size][32 places] and values [panels][64 places][32].
  int64_t block_bytes() const;
  int64_t keys_offset(int64_t head) const;
  int64_t values_offset(int64_t head) const;
  int64_t value_panels() const;
};

// A copy shares the blocks; the last, unfinished one is copied when either grows.
class KeyValueCache {
 public:
  explicit KeyValueCache(const CacheShape& shape);

  const CacheShape& shape() const { return shape_; }
  int64_t size() const { return size_; }  // places

  // Appends `rows` places: keys and values of place i at keys + i * row and values + i * row, [kv_heads, head_size].
  void append(ThreadPool& threads, const float* keys, const float* values, int64_t rows, int64_t row);

  const std::byte* block(int64_t index) const { return blocks_[static_cast<size_t>(index)].get(); }
  int64_t bytes() const { return static_cast<int64_t>(blocks_.size()) * shape_.block_bytes(); }

 private:
  CacheShape shape_;
  int64_t size_ = 0;
  std::vector<std::shared_ptr<std::byte[]>> blocks_;
};

}  // namespace dlcm
