// What the kernels of range attention share: where the data lie and which keys a stretch of queries sees. Internal.
#pragma once

#include "dlcm/ops/attention_tiles.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

namespace dlcm::attention {

struct Shape {
  int64_t queries, keys, heads, kv_heads, head_size;
  int64_t group() const { return heads / kv_heads; }
};

template <typename T>
struct Pointers {
  Shape shape;
  const T *q, *k, *v;
  const int64_t *begin, *end;
  const T *key_bias, *last_key_bias;  // null where absent
  int64_t query_row() const { return shape.heads * shape.head_size; }
  int64_t key_row() const { return shape.kv_heads * shape.head_size; }
};

inline int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Room that is not cleared.
template <typename T>
class Room {
 public:
  // At least `size` numbers; what was there is lost. Kept for the next call on this thread.
  T* of(int64_t size) {
    if (size > size_) {
      data_ = std::make_unique_for_overwrite<T[]>(static_cast<size_t>(size));
      size_ = size;
    }
    return data_.get();
  }

 private:
  std::unique_ptr<T[]> data_;
  int64_t size_ = 0;
};

// Keys of a tile, as columns of it.
struct Columns {
  int64_t begin, end;
  bool empty() const { return begin >= end; }
  int64_t size() const { return end - begin; }
};

// What some query of [first, last) may see of the `keys` keys from `tile` on.
template <typename T>
Columns visible_columns(const Pointers<T>& data, int64_t first, int64_t last, int64_t tile, int64_t keys) {
  const int64_t begin = std::clamp<int64_t>(data.begin[first] - tile, 0, keys);
  return {begin, std::clamp(data.end[last - 1] - tile, begin, keys)};
}

// The columns cut to whole vectors, around them.
inline Columns whole_vectors(const Columns& columns, int64_t lanes) {
  return {columns.begin / lanes * lanes, round_up(columns.end, lanes)};
}

// `count` queries from `query` on and what they see of the tile, all within `seen`; `written` are whole vectors around
// it.
template <typename T>
TileRows rows_of(const Pointers<T>& data, int64_t query, int64_t count, int64_t tile, const Columns& seen,
                 const Columns& written, int64_t stride) {
  TileRows rows{count, stride, written.begin, written.end, {}, {}};
  for (int64_t i = 0; i < count; ++i) {
    rows.begin[i] = std::clamp(data.begin[query + i] - tile, seen.begin, seen.end);
    rows.end[i] = std::clamp(data.end[query + i] - tile, rows.begin[i], seen.end);
  }
  return rows;
}

template <typename T>
void add_bias(const Pointers<T>& data, int64_t query, int64_t tile, const TileRows& rows, T* scores) {
  for (int64_t i = 0; i < rows.count; ++i) {
    if (rows.begin[i] >= rows.end[i]) continue;
    T* row = scores + i * rows.stride;
    const bool holds_last = data.last_key_bias != nullptr && rows.end[i] + tile == data.end[query + i];
    const T last = row[rows.end[i] - 1];
    if (data.key_bias != nullptr) {
      for (int64_t s = rows.begin[i]; s < rows.end[i]; ++s) row[s] += data.key_bias[tile + s];
    }
    if (holds_last) row[rows.end[i] - 1] = last + data.last_key_bias[query + i];
  }
}

template <typename T>
T score_scale(const Shape& shape) {
  return T(1) / std::sqrt(static_cast<T>(shape.head_size));
}

template <typename T>
struct GradientPointers {
  const T *out, *log_sum, *dout;
  T *dq, *dk, *dv;
};

// Query spans that share no keys: [spans[i], spans[i + 1]).
template <typename T>
std::vector<int64_t> independent_spans(const Pointers<T>& data) {
  std::vector<int64_t> spans{0};
  for (int64_t t = 1; t < data.shape.queries; ++t) {
    if (data.begin[t] >= data.end[t - 1]) spans.push_back(t);
  }
  spans.push_back(data.shape.queries);
  return spans;
}

// out [T, N, H] and log_sum [T, N], the logarithm of each softmax's denominator. The double kernel and the float kernel
// work in their own type; in bfloat16, factors of the products are rounded to it, sums and softmax are in float.
template <typename T>
void forward(const Pointers<T>& data, T* out, T* log_sum);
void forward_bfloat16(const Pointers<float>& data, float* out, float* log_sum);

// dq, dk and dv from dout; dk and dv hold zeros before.
template <typename T>
void backward(const Pointers<T>& data, const GradientPointers<T>& gradient);
void backward_bfloat16(const Pointers<float>& data, const GradientPointers<float>& gradient);

}  // namespace dlcm::attention
