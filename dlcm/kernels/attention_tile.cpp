// Compiled once per instruction set by Highway. Without the precompiled header: targets are set before any include.
#include "dlcm/kernels/attention_tile.h"

// Vectors of unknown size cannot lie in arrays.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3 | HWY_SSE4)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "dlcm/kernels/attention_tile.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include "dlcm/kernels/chain_tile-inl.h"

#include <hwy/highway.h>

#include <algorithm>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace dlcm {
namespace HWY_NAMESPACE {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

HWY_INLINE void scale_row(float* HWY_RESTRICT x, int64_t size, float factor) {
  const Float d;
  const auto factors = hn::Set(d, factor);
  for (int64_t i = 0; i < size; i += kLanes) hn::StoreU(hn::Mul(hn::LoadU(d, x + i), factors), d, x + i);
}

// Biases and the bounds of what a row sees in the block of keys from `first` on.
HWY_INLINE void adjust_scores(const AttentionTile& tile, int64_t row, int64_t first, float* scores) {
  const int64_t seen = std::min(kCacheBlock, tile.end[row] - first);
  const bool has_last_key = tile.last_key_bias != nullptr && tile.end[row] - first == seen;
  const float last_score = has_last_key ? scores[seen - 1] + tile.last_key_bias[row] : 0.0f;
  if (tile.key_bias != nullptr) {
    for (int64_t i = 0; i < seen; ++i) scores[i] += tile.key_bias[first + i];
  }
  if (has_last_key) scores[seen - 1] = last_score;
  for (int64_t i = 0; i < tile.begin[row] - first; ++i) scores[i] = kNothing;
  for (int64_t i = seen; i < kCacheBlock; ++i) scores[i] = kNothing;
}

// Turns a row's scores of one block into weights, and its sums so far to the new largest score.
HWY_INLINE void add_weights(float* HWY_RESTRICT scores, float* HWY_RESTRICT parts, float& largest,
                            float* HWY_RESTRICT o, int64_t o_size) {
  const Float d;
  auto most = hn::LoadU(d, scores);
  for (int64_t i = kLanes; i < kCacheBlock; i += kLanes) most = hn::Max(most, hn::LoadU(d, scores + i));
  const float now = std::max(largest, hn::GetLane(hn::MaxOfLanes(d, most)));
  if (now != largest) {
    const float correction = exponential(largest - now);
    scale_row(parts, kSumParts, correction);
    scale_row(o, o_size, correction);
    largest = now;
  }
  const auto reference = hn::Set(d, now);
  for (int64_t i = 0; i < kCacheBlock; i += kLanes) {
    const auto weight = exponential(d, hn::Sub(hn::LoadU(d, scores + i), reference));
    hn::StoreU(weight, d, scores + i);
    float* part = parts + i % kSumParts;
    hn::StoreU(hn::Add(hn::LoadU(d, part), weight), d, part);
  }
}

// Prefetches the head's next block into the second cache while this one is read, row by row from its four quarters in
// turn: memory gives more where several places are read at once.
struct NextBlock {
  const std::byte* first;
  int64_t quarter;  // bytes of one

  template <int panels>
  HWY_INLINE void prefetch_row(const std::byte*, int64_t input, int64_t panel, int64_t bytes) const {
    constexpr uint64_t kTurns = 4 / panels;
    const auto row = static_cast<uint64_t>(input), place = row % kTurns * panels + static_cast<uint64_t>(panel);
    prefetch<PrefetchTo::second_cache>(first + static_cast<int64_t>(place * static_cast<uint64_t>(quarter) +
                                                                    row / kTurns * static_cast<uint64_t>(bytes)),
                                       bytes);
  }
};

// chain_tile over any number of panels.
template <int rows, int64_t x_row, int64_t x_input, typename Stored>
HWY_INLINE void multiply_panels(const float* x, Panels<Stored> panels, NextBlock& next, int64_t count, int64_t inputs,
                                float* y, int64_t y_row, bool continues) {
  constexpr int most = std::min(2, panels_of(rows));
  while (count > 0) {
    const int taken = count >= most ? most : 1;
    if (taken == most) {
      chain_tile<rows, most, x_row, x_input>(x, panels, next, inputs, y, y_row, continues);
    } else {
      chain_tile<rows, 1, x_row, x_input>(x, panels, next, inputs, y, y_row, continues);
    }
    next.first += taken * inputs / 4 * kPanelOutputs * static_cast<int64_t>(sizeof(Stored));
    count -= taken;
    panels.first += taken * panels.step;
    y += taken * kPanelOutputs;
  }
}

template <int rows, typename Stored>
void attend_rows(const AttentionTile& tile, const AttentionSums& sums) {
  const auto& shape = tile.cache->shape();
  alignas(64) float scores[rows * kCacheBlock];
  alignas(64) float parts[rows * kSumParts] = {};
  std::fill_n(sums.largest, rows, kNothing);
  std::fill_n(sums.o, rows * sums.o_row, 0.0f);
  for (int64_t first = tile.first; first < tile.last; first += kCacheBlock) {
    const std::byte* block = tile.cache->block(first / kCacheBlock);
    const auto* keys = reinterpret_cast<const Stored*>(block + shape.keys_offset(tile.kv_head));
    const auto* values = reinterpret_cast<const Stored*>(block + shape.values_offset(tile.kv_head));
    const int64_t count = std::min(kCacheBlock, tile.last - first);
    const std::byte* next_block = first + kCacheBlock < tile.last ? tile.cache->block(first / kCacheBlock + 1) : block;
    const std::byte* next_head = next_block + shape.keys_offset(tile.kv_head);
    NextBlock next{next_head, (shape.keys_offset(1) - shape.keys_offset(0)) / 4};
    multiply_panels<rows, 1, rows, Stored>(tile.queries, {.first = keys, .step = kPanelOutputs * shape.head_size}, next,
                                           count > kPanelOutputs ? 2 : 1, shape.head_size, scores, kCacheBlock, false);
    for (int r = 0; r < rows; ++r) {
      float* row = scores + r * kCacheBlock;
      if (tile.end[r] <= first || tile.begin[r] >= first + kCacheBlock) {
        std::fill_n(row, kCacheBlock, 0.0f);
        continue;
      }
      const bool whole = tile.begin[r] <= first && tile.end[r] - first > kCacheBlock && tile.key_bias == nullptr;
      if (!whole) adjust_scores(tile, r, first, row);
      add_weights(row, parts + r * kSumParts, sums.largest[r], sums.o + r * sums.o_row, sums.o_row);
    }
    multiply_panels<rows, kCacheBlock, 1, Stored>(scores, {.first = values, .step = kCacheBlock * kPanelOutputs}, next,
                                                  shape.value_panels(), count, sums.o, sums.o_row, true);
  }
  for (int r = 0; r < rows; ++r) sums.total[r] = sum_of_parts(parts + r * kSumParts);
}

template <int rows = kMostRows>
void find_rows(const AttentionTile& tile, const AttentionSums& sums) {
  if (tile.rows == rows) {
    if (tile.cache->shape().format == CacheFormat::float32) return attend_rows<rows, float>(tile, sums);
    return attend_rows<rows, InterleavedBfloat16>(tile, sums);
  }
  if constexpr (rows > 1) find_rows<rows - 1>(tile, sums);
}

void attend_some(const AttentionTile& tile, const AttentionSums& sums) { find_rows(tile, sums); }

void add(int64_t rows, const AttentionSums& earlier, const AttentionSums& later) {
  const Float d;
  for (int64_t r = 0; r < rows; ++r) {
    if (later.largest[r] == kNothing) continue;
    const float largest = std::max(earlier.largest[r], later.largest[r]);
    const float kept = exponential(earlier.largest[r] - largest), added = exponential(later.largest[r] - largest);
    earlier.largest[r] = largest;
    earlier.total[r] = earlier.total[r] * kept + later.total[r] * added;
    float* HWY_RESTRICT o = earlier.o + r * earlier.o_row;
    const float* HWY_RESTRICT more = later.o + r * later.o_row;
    for (int64_t i = 0; i < earlier.o_row; i += kLanes) {
      const auto old = hn::Mul(hn::LoadU(d, o + i), hn::Set(d, kept));
      hn::StoreU(hn::MulAdd(hn::LoadU(d, more + i), hn::Set(d, added), old), d, o + i);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dlcm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dlcm {

HWY_EXPORT(attend_some);
HWY_EXPORT(add);

void attend_tile(const AttentionTile& tile, const AttentionSums& sums) {
  HWY_DYNAMIC_DISPATCH(attend_some)(tile, sums);
}

void add_sums(int64_t rows, const AttentionSums& earlier, const AttentionSums& later) {
  HWY_DYNAMIC_DISPATCH(add)(rows, earlier, later);
}

}  // namespace dlcm
#endif
