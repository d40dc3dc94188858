#include "dlcm/kernels/key_value_cache.h"

#include "dlcm/kernels/bfloat16.h"
#include "dlcm/kernels/packed_matrix.h"

#include <cstring>
#include <new>

namespace dlcm {
namespace {

constexpr int64_t kRowsWorthThreads = 16;
constexpr std::align_val_t kAlignment{64};

int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Zeros: what lies behind the last place is multiplied, with weight zero.
std::shared_ptr<std::byte[]> make_block(int64_t bytes) {
  auto* memory = static_cast<std::byte*>(::operator new(static_cast<size_t>(bytes), kAlignment));
  std::memset(memory, 0, static_cast<size_t>(bytes));
  return {memory, [](std::byte* block) { ::operator delete(block, kAlignment); }};
}

float stored_as(float value, float*) { return value; }
InterleavedBfloat16 stored_as(float value, InterleavedBfloat16*) { return {to_bfloat16(value)}; }

// Where output `index` of a panel's row lies.
int64_t place_of(int64_t index, float*) { return index; }
int64_t place_of(int64_t index, InterleavedBfloat16*) {
  constexpr int64_t kHalf = kPanelOutputs / 2;
  return index % kHalf * 2 + index / kHalf;
}

template <typename Stored>
void store_place(const CacheShape& shape, std::byte* block, int64_t head, int64_t place, const float* key,
                 const float* value) {
  auto* keys = reinterpret_cast<Stored*>(block + shape.keys_offset(head)) +
               place / kPanelOutputs * shape.head_size * kPanelOutputs;
  keys += place_of(place % kPanelOutputs, keys);
  auto* values = reinterpret_cast<Stored*>(block + shape.values_offset(head)) + place * kPanelOutputs;
  for (int64_t i = 0; i < shape.head_size; ++i) {
    keys[i * kPanelOutputs] = stored_as(key[i], keys);
    values[i / kPanelOutputs * kCacheBlock * kPanelOutputs + place_of(i % kPanelOutputs, values)] =
        stored_as(value[i], values);
  }
}

}  // namespace

int64_t CacheShape::value_panels() const { return round_up(head_size, kPanelOutputs) / kPanelOutputs; }

int64_t CacheShape::keys_offset(int64_t head) const {
  return head * kCacheBlock * (head_size + value_panels() * kPanelOutputs) * value_bytes();
}

int64_t CacheShape::values_offset(int64_t head) const {
  return keys_offset(head) + kCacheBlock * head_size * value_bytes();
}

int64_t CacheShape::block_bytes() const { return keys_offset(kv_heads); }

KeyValueCache::KeyValueCache(const CacheShape& shape) : shape_(shape) {}

void KeyValueCache::append(ThreadPool& threads, const float* keys, const float* values, int64_t rows, int64_t row) {
  if (rows == 0) return;
  const int64_t in_last = size_ % kCacheBlock;
  if (in_last != 0 && blocks_.back().use_count() > 1) {
    auto own = make_block(shape_.block_bytes());
    std::memcpy(own.get(), blocks_.back().get(), static_cast<size_t>(shape_.block_bytes()));
    blocks_.back() = std::move(own);
  }
  while (static_cast<int64_t>(blocks_.size()) * kCacheBlock < size_ + rows) {
    blocks_.push_back(make_block(shape_.block_bytes()));
  }
  const auto store_head = [&](int64_t head) {
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t place = size_ + i;
      auto* block = blocks_[static_cast<size_t>(place / kCacheBlock)].get();
      const float* key = keys + i * row + head * shape_.head_size;
      const float* value = values + i * row + head * shape_.head_size;
      if (shape_.format == CacheFormat::float32) {
        store_place<float>(shape_, block, head, place % kCacheBlock, key, value);
      } else {
        store_place<InterleavedBfloat16>(shape_, block, head, place % kCacheBlock, key, value);
      }
    }
  };
  if (rows >= kRowsWorthThreads) {
    threads.run(shape_.kv_heads, store_head);
  } else {
    for (int64_t head = 0; head < shape_.kv_heads; ++head) store_head(head);
  }
  size_ += rows;
}

}  // namespace dlcm
