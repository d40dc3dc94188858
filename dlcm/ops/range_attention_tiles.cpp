// The CPU kernel in float and double: blocks of queries against tiles of the keys that they see, products and softmax
// in vectors (attention_tiles.h). The forward pass keeps a running maximum and sum per query; the backward pass
// recomputes the weights from the saved log-sum. The one hard idea: ranges are non-decreasing, so a strip of queries
// sees keys [begin of its first, end of its last), and a query whose begin is not below every earlier end starts a span
// that shares no key with the ones before. Blocks of queries are the units of parallel work forward; spans (documents)
// and key heads backward, each summing its own dk and dv in a fixed order. Nothing depends on the number of threads.
#include "dlcm/ops/parallel_tasks.h"
#include "dlcm/ops/range_attention_kernels.h"
#include "dlcm/ops/row_kernels.h"

#include <limits>
#include <utility>

namespace dlcm::attention {
namespace {

constexpr int64_t kQueryBlock = 96;
constexpr int64_t kStrip = kMostTileRows;  // queries whose keys are cut to what they see
constexpr int64_t kFewQueries = 4;
constexpr int64_t kKeyStrip = 4 * kStrip;  // keys whose queries are cut to those that see them
constexpr int64_t kTileElements = 16384;   // of a tile of keys or values: it stays in the first-level cache

// The two layouts in which tile products read keys and values of one head: rows [key][padded head size], and columns
// [key / lanes][head size][lanes], which is the transpose cut into panels. Rows of padding are zero.
template <typename T>
void pack_rows(const T* source, int64_t stride, int64_t keys, int64_t size, int64_t padded, T* rows) {
  for (int64_t s = 0; s < keys; ++s) {
    std::copy_n(source + s * stride, size, rows + s * padded);
    std::fill_n(rows + s * padded + size, padded - size, T(0));
  }
}
template <typename T>
void pack_columns(const T* source, int64_t stride, int64_t keys, int64_t size, int64_t lanes, T* columns) {
  for (int64_t panel = 0; panel * lanes < keys; ++panel) {
    T* target = columns + panel * size * lanes;
    const int64_t count = std::min(lanes, keys - panel * lanes);
    for (int64_t h = 0; h < size; ++h) {
      for (int64_t lane = 0; lane < count; ++lane)
        target[h * lanes + lane] = source[(panel * lanes + lane) * stride + h];
      std::fill_n(target + h * lanes + count, lanes - count, T(0));
    }
  }
}

// Sizes that follow from the head size and the CPU's vectors.
struct Tiling {
  explicit Tiling(int64_t head_size_, int64_t lanes_)
      : lanes(lanes_),
        head_size(head_size_),
        padded(round_up(head_size_, lanes_)),
        keys(std::max(lanes_, kTileElements / padded / lanes_ * lanes_)) {}
  int64_t lanes, head_size, padded;
  int64_t keys;  // of a tile
  int64_t panel() const { return head_size * lanes; }
};

// A stretch of at most kQueryBlock queries.
struct Block {
  int64_t query, num_queries;
};

// visit(first query of a strip within the block, number of its queries, what they see of the tile)
template <typename T, typename Visit>
void for_strips(const Pointers<T>& data, const Block& block, int64_t tile, const Tiling& tiling, Visit visit) {
  for (int64_t i = 0; i < block.num_queries; i += kStrip) {
    const int64_t count = std::min(kStrip, block.num_queries - i);
    visit(i, count, visible_columns(data, block.query + i, block.query + i + count, tile, tiling.keys));
  }
}

// Rows of one head of a block, times `factor`, laid end to end.
template <typename T>
void gather(const T* source, int64_t stride, int64_t rows, int64_t size, int64_t padded, T factor, T* target) {
  // Rows lie pages apart, where no hardware looks ahead.
  constexpr int64_t kRowsAhead = 8, kLine = 64 / static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t h = 0; h < size && i + kRowsAhead < rows; h += kLine) {
      __builtin_prefetch(source + (i + kRowsAhead) * stride + h);
    }
    for (int64_t h = 0; h < size; ++h) target[i * padded + h] = source[i * stride + h] * factor;
    std::fill_n(target + i * padded + size, padded - size, T(0));
  }
}

// ---- forward

// Keys and values of all heads, packed: columns of k, rows of v.
template <typename T>
struct Packed {
  const T *key_columns, *value_rows;
  int64_t columns_head, rows_head;  // distance between heads
};

template <typename T>
void forward_block(const Pointers<T>& data, const Packed<T>& packed, const Tiling& tiling, const Block& block,
                   int64_t head, T* out, T* log_sum) {
  static thread_local Room<T> room;
  const auto& shape = data.shape;
  const int64_t padded = tiling.padded;
  T* queries = room.of(kQueryBlock * (2 * padded + tiling.keys + 2));
  T* sums = queries + kQueryBlock * padded;  // of weighted values
  T* scores = sums + kQueryBlock * padded;
  T* largest = scores + kQueryBlock * tiling.keys;
  T* totals = largest + kQueryBlock;
  const int64_t at = block.query * data.query_row() + head * shape.head_size;
  gather(data.q + at, data.query_row(), block.num_queries, shape.head_size, padded, score_scale<T>(shape), queries);
  std::fill_n(sums, block.num_queries * padded, T(0));
  std::fill_n(largest, block.num_queries, -std::numeric_limits<T>::infinity());
  std::fill_n(totals, block.num_queries, T(0));
  const T* columns = packed.key_columns + head / shape.group() * packed.columns_head;
  const T* values = packed.value_rows + head / shape.group() * packed.rows_head;
  const bool biased = data.key_bias != nullptr || data.last_key_bias != nullptr;

  const int64_t last_key = data.end[block.query + block.num_queries - 1];
  for (int64_t tile = data.begin[block.query] / tiling.lanes * tiling.lanes; tile < last_key; tile += tiling.keys) {
    for_strips(data, block, tile, tiling, [&](int64_t i, int64_t count, const Columns& strip) {
      if (strip.empty()) return;
      const auto wide = whole_vectors(strip, tiling.lanes);
      multiply(TileProduct<T>{count, wide.size(), shape.head_size, queries + i * padded, padded, 1,
                              columns + (tile + wide.begin) / tiling.lanes * tiling.panel(), tiling.lanes,
                              tiling.panel(), scores + i * tiling.keys + wide.begin, tiling.keys, false});
      const auto rows = rows_of(data, block.query + i, count, tile, strip, wide, tiling.keys);
      if (biased) add_bias(data, block.query + i, tile, rows, scores + i * tiling.keys);
      T corrections[kStrip];
      softmax_more(scores + i * tiling.keys, rows, largest + i, totals + i, corrections);
      for (int64_t row = 0; row < count; ++row) {
        if (corrections[row] != T(1)) rows::scale(sums + (i + row) * padded, padded, corrections[row]);
      }
    });
    for_strips(data, block, tile, tiling, [&](int64_t i, int64_t count, const Columns& strip) {
      if (strip.empty()) return;
      multiply(TileProduct<T>{count, padded, strip.size(), scores + i * tiling.keys + strip.begin, tiling.keys, 1,
                              values + (tile + strip.begin) * padded, padded, tiling.lanes, sums + i * padded, padded,
                              true});
    });
  }
  for (int64_t i = 0; i < block.num_queries; ++i) {
    T* target = out + at + i * data.query_row();
    const bool empty = !(data.begin[block.query + i] < data.end[block.query + i]);
    const T inverse = empty ? T(0) : T(1) / totals[i];
    for (int64_t h = 0; h < shape.head_size; ++h) target[h] = sums[i * padded + h] * inverse;
    log_sum[(block.query + i) * shape.heads + head] =
        empty ? -std::numeric_limits<T>::infinity() : largest[i] + std::log(totals[i]);
  }
}

// The few queries of a decoding step read each key once, as it lies in the cache: packing would cost more than it
// saves.
template <typename T>
void forward_row(const Pointers<T>& data, int64_t query, int64_t head, T* out, T* log_sum) {
  static thread_local Room<T> room;
  const auto& shape = data.shape;
  const int64_t begin = data.begin[query], count = std::max<int64_t>(0, data.end[query] - begin);
  const int64_t at = query * data.query_row() + head * shape.head_size;
  const int64_t key = begin * data.key_row() + head / shape.group() * shape.head_size;
  T* scores = room.of(count);
  for (int64_t s = 0; s < count; ++s) {
    scores[s] = rows::dot(data.q + at, data.k + key + s * data.key_row(), shape.head_size) * score_scale<T>(shape);
  }
  add_bias(data, query, begin, TileRows{1, count, 0, count, {0}, {count}}, scores);
  log_sum[query * shape.heads + head] = rows::softmax(scores, count, 0, count);
  std::fill_n(out + at, shape.head_size, T(0));
  for (int64_t s = 0; s < count; ++s) {
    rows::add_scaled(out + at, data.v + key + s * data.key_row(), shape.head_size, scores[s]);
  }
}

// ---- backward

// Everything of one span and one key head: the keys of the span, packed, and the sums of their gradients.
template <typename T>
struct SpanRoom {
  int64_t first_key, num_keys;  // first_key: a multiple of lanes
  T *key_columns, *key_rows, *value_columns;
  T *dk, *dv;  // [num_keys, padded]
};

template <typename T>
struct BlockRoom {
  T *queries, *dout, *dq;  // [kQueryBlock, padded]
  T *weights, *dscores;    // [kQueryBlock, tiling.keys]
  T *log_sums, *means;     // [kQueryBlock]
};

template <typename T>
void backward_block(const Pointers<T>& data, const GradientPointers<T>& gradient, const Tiling& tiling,
                    const SpanRoom<T>& span, const BlockRoom<T>& room, const Block& block, int64_t head) {
  const auto& shape = data.shape;
  const int64_t padded = tiling.padded, keys = tiling.keys;
  const int64_t at = block.query * data.query_row() + head * shape.head_size;
  const T scale = score_scale<T>(shape);
  gather(data.q + at, data.query_row(), block.num_queries, shape.head_size, padded, scale, room.queries);
  gather(gradient.dout + at, data.query_row(), block.num_queries, shape.head_size, padded, T(1), room.dout);
  std::fill_n(room.dq, block.num_queries * padded, T(0));
  for (int64_t i = 0; i < block.num_queries; ++i) {
    room.log_sums[i] = gradient.log_sum[(block.query + i) * shape.heads + head];
    room.means[i] =
        rows::dot(gradient.dout + at + i * data.query_row(), gradient.out + at + i * data.query_row(), shape.head_size);
  }
  const bool biased = data.key_bias != nullptr || data.last_key_bias != nullptr;
  const int64_t last_key = data.end[block.query + block.num_queries - 1];
  for (int64_t tile = data.begin[block.query] / tiling.lanes * tiling.lanes; tile < last_key; tile += keys) {
    const int64_t local = tile - span.first_key;
    const auto all = visible_columns(data, block.query, block.query + block.num_queries, tile, tiling.keys);
    const auto wide_all = whole_vectors(all, tiling.lanes);
    for_strips(data, block, tile, tiling, [&](int64_t i, int64_t count, const Columns& strip) {
      T* weights = room.weights + i * keys;
      T* dscores = room.dscores + i * keys;
      if (!strip.empty()) {
        const auto wide = whole_vectors(strip, tiling.lanes);
        const int64_t panels = (local + wide.begin) / tiling.lanes * tiling.panel();
        TileProduct<T> product{count,
                               wide.size(),
                               shape.head_size,
                               room.queries + i * padded,
                               padded,
                               1,
                               span.key_columns + panels,
                               tiling.lanes,
                               tiling.panel(),
                               weights + wide.begin,
                               keys,
                               false};
        multiply(product);
        product.a = room.dout + i * padded;
        product.b = span.value_columns + panels;
        product.c = dscores + wide.begin;
        multiply(product);
      }
      // Zeros where a query sees nothing: products over the block's queries read whole columns.
      const auto rows = rows_of(data, block.query + i, count, tile, strip, wide_all, keys);
      if (biased) add_bias(data, block.query + i, tile, rows, weights);
      softmax_gradient(weights, dscores, rows, room.log_sums + i, room.means + i);
    });
    for_strips(data, block, tile, tiling, [&](int64_t i, int64_t count, const Columns& strip) {
      if (strip.empty()) return;
      multiply(TileProduct<T>{count, padded, strip.size(), room.dscores + i * keys + strip.begin, keys, 1,
                              span.key_rows + (local + strip.begin) * padded, padded, tiling.lanes,
                              room.dq + i * padded, padded, true});
    });
    // Keys in strips, each against the queries that see some of it.
    int64_t first = 0, last = 0;
    for (int64_t column = all.begin; column < all.end; column += kKeyStrip) {
      const int64_t count = std::min(kKeyStrip, all.end - column);
      while (first < block.num_queries && data.end[block.query + first] <= tile + column) ++first;
      while (last < block.num_queries && data.begin[block.query + last] < tile + column + count) ++last;
      if (first >= last) continue;
      TileProduct<T> product{count,
                             padded,
                             last - first,
                             room.weights + first * keys + column,
                             1,
                             keys,
                             room.dout + first * padded,
                             padded,
                             tiling.lanes,
                             span.dv + (local + column) * padded,
                             padded,
                             true};
      multiply(product);
      product.a = room.dscores + first * keys + column;
      product.b = room.queries + first * padded;
      product.c = span.dk + (local + column) * padded;
      multiply(product);
    }
  }
  for (int64_t i = 0; i < block.num_queries; ++i) {
    T* target = gradient.dq + at + i * data.query_row();
    for (int64_t h = 0; h < shape.head_size; ++h) target[h] = room.dq[i * padded + h] * scale;
  }
}

template <typename T>
void backward_span(const Pointers<T>& data, const GradientPointers<T>& gradient, const Tiling& tiling, int64_t first,
                   int64_t last, int64_t kv_head) {
  const auto& shape = data.shape;
  const int64_t padded = tiling.padded, row = data.key_row();
  // Keys from the first vector that any query sees to the end of the last; other spans may own keys at its edges.
  const int64_t first_key = data.begin[first] / tiling.lanes * tiling.lanes;
  const int64_t num_keys = std::max<int64_t>(0, data.end[last - 1] - first_key);
  const int64_t room_keys = round_up(num_keys, tiling.lanes);
  static thread_local Room<T> room;
  T* at = room.of(room_keys * (2 * shape.head_size + 3 * padded) + kQueryBlock * (3 * padded + 2 * tiling.keys + 2));
  const auto take = [&at](int64_t size) { return std::exchange(at, at + size); };
  const SpanRoom<T> span{first_key,
                         num_keys,
                         take(room_keys * shape.head_size),
                         take(room_keys * padded),
                         take(room_keys * shape.head_size),
                         take(room_keys * padded),
                         take(room_keys * padded)};
  const BlockRoom<T> block_room{take(kQueryBlock * padded),
                                take(kQueryBlock * padded),
                                take(kQueryBlock * padded),
                                take(kQueryBlock * tiling.keys),
                                take(kQueryBlock * tiling.keys),
                                take(kQueryBlock),
                                take(kQueryBlock)};
  const T* key = data.k + first_key * row + kv_head * shape.head_size;
  const T* value = data.v + first_key * row + kv_head * shape.head_size;
  pack_columns(key, row, num_keys, shape.head_size, tiling.lanes, span.key_columns);
  pack_columns(value, row, num_keys, shape.head_size, tiling.lanes, span.value_columns);
  pack_rows(key, row, num_keys, shape.head_size, padded, span.key_rows);
  std::fill(span.key_rows + num_keys * padded, span.key_rows + room_keys * padded, T(0));
  std::fill_n(span.dk, room_keys * padded, T(0));
  std::fill_n(span.dv, room_keys * padded, T(0));
  for (int64_t query = first; query < last; query += kQueryBlock) {
    for (int64_t member = 0; member < shape.group(); ++member) {
      backward_block(data, gradient, tiling, span, block_room, {query, std::min(kQueryBlock, last - query)},
                     kv_head * shape.group() + member);
    }
  }
  // Keys that no query of this span sees belong to others.
  for (int64_t s = data.begin[first]; s < first_key + num_keys; ++s) {
    const int64_t target = s * row + kv_head * shape.head_size, source = (s - first_key) * padded;
    std::copy_n(span.dk + source, shape.head_size, gradient.dk + target);
    std::copy_n(span.dv + source, shape.head_size, gradient.dv + target);
  }
}

}  // namespace

template <typename T>
void forward(const Pointers<T>& data, T* out, T* log_sum) {
  const auto& shape = data.shape;
  if (shape.queries == 0) return;
  if (shape.queries <= kFewQueries) {
    parallel_tasks(shape.queries * shape.heads,
                   [&](int64_t task) { forward_row(data, task / shape.heads, task % shape.heads, out, log_sum); });
    return;
  }
  const Tiling tiling(shape.head_size, tile_lanes<T>());
  const int64_t padded_keys = round_up(shape.keys, tiling.lanes);
  // Rows of padding follow the keys, because a product reads whole vectors of weights, which are zero there.
  const int64_t columns_head = padded_keys * shape.head_size, rows_head = padded_keys * tiling.padded;
  const auto room =
      std::make_unique_for_overwrite<T[]>(static_cast<size_t>(shape.kv_heads * (columns_head + rows_head)));
  T* columns = room.get();
  T* values = columns + shape.kv_heads * columns_head;
  parallel_tasks(shape.kv_heads, [&](int64_t head) {
    const int64_t at = head * shape.head_size;
    pack_columns(data.k + at, data.key_row(), shape.keys, shape.head_size, tiling.lanes, columns + head * columns_head);
    T* rows = values + head * rows_head;
    pack_rows(data.v + at, data.key_row(), shape.keys, shape.head_size, tiling.padded, rows);
    std::fill(rows + shape.keys * tiling.padded, rows + rows_head, T(0));
  });
  const Packed<T> packed{columns, values, columns_head, rows_head};

  const int64_t num_blocks = (shape.queries + kQueryBlock - 1) / kQueryBlock;
  parallel_tasks(num_blocks * shape.heads, [&](int64_t task) {
    const int64_t query = (num_blocks - 1 - task % num_blocks) * kQueryBlock;  // the long ones first
    forward_block(data, packed, tiling, {query, std::min(kQueryBlock, shape.queries - query)}, task / num_blocks, out,
                  log_sum);
  });
}

template <typename T>
void backward(const Pointers<T>& data, const GradientPointers<T>& gradient) {
  if (data.shape.queries == 0) return;
  const Tiling tiling(data.shape.head_size, tile_lanes<T>());
  const auto spans = independent_spans(data);
  const int64_t num_spans = static_cast<int64_t>(spans.size()) - 1;
  parallel_tasks(num_spans * data.shape.kv_heads, [&](int64_t task) {
    const int64_t span = task % num_spans;
    backward_span(data, gradient, tiling, spans[span], spans[span + 1], task / num_spans);
  });
}

template void forward(const Pointers<float>&, float*, float*);
template void forward(const Pointers<double>&, double*, double*);
template void backward(const Pointers<float>&, const GradientPointers<float>&);
template void backward(const Pointers<double>&, const GradientPointers<double>&);

}  // namespace dlcm::attention
