// The CPU kernel with bfloat16 products, built like the one in float (range_attention_tiles.cpp): blocks of queries
// against tiles of keys. The unit's shapes are coarser: a group of 32 queries works on the keys that any of them sees,
// cut to multiples of 32. Gradients of keys and values are summed transposed, [head size, keys], because then the
// weights enter as a factor B, which two rows at a time are rounded into without a transposition.
#include "dlcm/ops/bfloat16_tiles.h"
#include "dlcm/ops/parallel_tasks.h"
#include "dlcm/ops/range_attention_kernels.h"
#include "dlcm/ops/row_kernels.h"

#include <limits>
#include <utility>

namespace dlcm::attention {
namespace {

constexpr int64_t kQueryBlock = 128;
constexpr int64_t kGroup = 32;  // queries whose keys are cut to what they see
constexpr int64_t kKeys = 256;  // of a tile
constexpr int64_t kFewQueries = 4;
constexpr int64_t kPairsOfBlock = kQueryBlock * kBFloat16Tile;  // one panel of a factor B whose depth is the block

bool in_bfloat16(const Shape& shape) { return shape.queries > kFewQueries && bfloat16_unit() != BFloat16Unit::none; }

int64_t pad(int64_t size) { return round_up(size, kBFloat16Depth); }

// Rows [rows, padded] times `factor`; zeros, whose scores are zeros, behind `size` and behind the last row up to
// `padded_rows`.
void gather(const float* source, int64_t stride, int64_t rows, int64_t padded_rows, int64_t size, int64_t padded,
            float factor, float* target) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t h = 0; h < size; ++h) target[i * padded + h] = source[i * stride + h] * factor;
    std::fill_n(target + i * padded + size, padded - size, 0.0f);
  }
  std::fill_n(target + rows * padded, (padded_rows - rows) * padded, 0.0f);
}

// One head's keys (or values) as the two factors B that they are: transposed, with the head size as depth, and as they
// stand, with the keys as depth. Either may be null. `row` has room for two rows.
struct Factors {
  uint16_t* transposed;  // panels of pad(head size) * 16
  uint16_t* plain;       // panels of pad(keys) * 16
};
void pack(const float* source, int64_t stride, int64_t keys, int64_t size, const Factors& factors, float* rows,
          uint16_t* rounded) {
  const int64_t padded = pad(size), padded_keys = pad(keys);
  for (int64_t s = 0; s < padded_keys; s += 2) {
    const int64_t there = std::clamp<int64_t>(keys - s, 0, 2);
    gather(source + s * stride, stride, there, 2, size, padded, 1.0f, rows);
    if (factors.plain != nullptr) {
      round_pair(rows, rows + padded, padded, factors.plain + s * kBFloat16Tile, padded_keys * kBFloat16Tile);
    }
    if (factors.transposed == nullptr) continue;
    for (int64_t i = 0; i < 2; ++i) {
      round_row(rows + i * padded, padded, rounded);
      const int64_t column = s + i;
      uint16_t* target =
          factors.transposed + column / kBFloat16Tile * padded * kBFloat16Tile + column % kBFloat16Tile * 2;
      for (int64_t h = 0; h < padded; h += 2) {
        target[h * kBFloat16Tile] = rounded[h];
        target[h * kBFloat16Tile + 1] = rounded[h + 1];
      }
    }
  }
}

// [columns][rows] of rounded [rows][columns]
void transpose(const uint16_t* source, int64_t rows, int64_t columns, uint16_t* target) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) target[j * rows + i] = source[i * columns + j];
  }
}

struct Block {
  int64_t query, num_queries;
  int64_t groups() const { return (num_queries + kGroup - 1) / kGroup; }
  int64_t in_group(int64_t group) const { return std::min(kGroup, num_queries - group * kGroup); }
};

Columns seen_by_group(const Pointers<float>& data, const Block& block, int64_t group, int64_t tile) {
  const int64_t first = block.query + group * kGroup;
  return visible_columns(data, first, first + block.in_group(group), tile, kKeys);
}

// visit(first query within the block, what the softmax kernels need of up to six queries) for a group's queries.
template <typename Visit>
void for_strips(const Pointers<float>& data, const Block& block, int64_t group, int64_t tile, const Columns& seen,
                Visit visit) {
  const auto wide = whole_vectors(seen, kBFloat16Depth);
  for (int64_t i = 0; i < block.in_group(group); i += kMostTileRows) {
    const int64_t count = std::min(kMostTileRows, block.in_group(group) - i), within = group * kGroup + i;
    visit(within, rows_of(data, block.query + within, count, tile, seen, wide, kKeys));
  }
}

// ---- forward

struct Packed {
  const uint16_t *keys, *values;  // transposed keys, plain values, of all heads
  int64_t head;                   // distance between heads, in both
  int64_t padded_keys;
};

void forward_block(const Pointers<float>& data, const Packed& packed, const Block& block, int64_t head, float* out,
                   float* log_sum) {
  static thread_local Room<float> room;
  static thread_local Room<uint16_t> rounded_room;
  const BFloat16Multiplier multiply(bfloat16_unit());
  const auto& shape = data.shape;
  const int64_t padded = pad(shape.head_size), block_rows = block.groups() * kGroup;
  float* gathered = room.of(kQueryBlock * (2 * padded + kKeys + 2));
  float* sums = gathered + kQueryBlock * padded;
  float* scores = sums + kQueryBlock * padded;
  float* largest = scores + kQueryBlock * kKeys;
  float* totals = largest + kQueryBlock;
  uint16_t* queries = rounded_room.of(kQueryBlock * padded + kGroup * kKeys);
  uint16_t* weights = queries + kQueryBlock * padded;  // of one group
  const int64_t at = block.query * data.query_row() + head * shape.head_size;
  gather(data.q + at, data.query_row(), block.num_queries, block_rows, shape.head_size, padded,
         score_scale<float>(shape), gathered);
  round_row(gathered, block_rows * padded, queries);
  std::fill_n(sums, block_rows * padded, 0.0f);
  std::fill_n(largest, block_rows, -std::numeric_limits<float>::infinity());
  std::fill_n(totals, block_rows, 0.0f);
  const uint16_t* keys = packed.keys + head / shape.group() * packed.head;
  const uint16_t* values = packed.values + head / shape.group() * packed.head;

  const int64_t last_key = data.end[block.query + block.num_queries - 1];
  for (int64_t tile = data.begin[block.query] / kBFloat16Depth * kBFloat16Depth; tile < last_key; tile += kKeys) {
    for (int64_t group = 0; group < block.groups(); ++group) {
      const auto seen = seen_by_group(data, block, group, tile);
      if (seen.empty()) continue;
      const auto wide = whole_vectors(seen, kBFloat16Depth);
      float* group_scores = scores + group * kGroup * kKeys;
      float* group_sums = sums + group * kGroup * padded;
      multiply({kGroup, wide.size(), padded, queries + group * kGroup * padded, padded,
                keys + (tile + wide.begin) * padded, padded * kBFloat16Tile, group_scores + wide.begin, kKeys, false});
      for_strips(data, block, group, tile, seen, [&](int64_t i, const TileRows& rows) {
        add_bias(data, block.query + i, tile, rows, scores + i * kKeys);
        float corrections[kMostTileRows];
        softmax_more(scores + i * kKeys, rows, largest + i, totals + i, corrections);
        for (int64_t row = 0; row < rows.count; ++row) {
          if (corrections[row] != 1.0f) rows::scale(sums + (i + row) * padded, padded, corrections[row]);
        }
      });
      for (int64_t i = 0; i < kGroup; ++i) {
        round_row(group_scores + i * kKeys + wide.begin, wide.size(), weights + i * kKeys);
      }
      multiply({kGroup, padded, wide.size(), weights, kKeys, values + (tile + wide.begin) * kBFloat16Tile,
                packed.padded_keys * kBFloat16Tile, group_sums, padded, true});
    }
  }
  for (int64_t i = 0; i < block.num_queries; ++i) {
    float* target = out + at + i * data.query_row();
    const bool empty = data.begin[block.query + i] >= data.end[block.query + i];
    const float inverse = empty ? 0.0f : 1.0f / totals[i];
    for (int64_t h = 0; h < shape.head_size; ++h) target[h] = sums[i * padded + h] * inverse;
    log_sum[(block.query + i) * shape.heads + head] =
        empty ? -std::numeric_limits<float>::infinity() : largest[i] + std::log(totals[i]);
  }
}

// ---- backward

// Everything of one span and one key head.
struct SpanRoom {
  int64_t first_key, padded_keys;
  uint16_t *key_transposed, *key_plain, *value_transposed;
  float *dk, *dv;  // [padded head size, padded keys]
};

struct BlockRoom {
  float *gathered, *dq;                                             // [kQueryBlock, padded]
  float *weights, *dscores;                                         // [kQueryBlock, kKeys]
  uint16_t *queries, *dout, *queries_transposed, *dout_transposed;  // [kQueryBlock, padded] and its transposed
  uint16_t *weight_pairs, *dscore_pairs;                            // factors B, the block's queries as depth
  uint16_t* dscore_rows;                                            // [kGroup, kKeys]
  float *log_sums, *means;                                          // [kQueryBlock]
};

// The softmax's gradient for a group and a tile, in all the forms that products need it in, and its share of dq.
void backward_group(const Pointers<float>& data, const SpanRoom& span, const BlockRoom& room,
                    const BFloat16Multiplier& multiply, const Block& block, int64_t group, int64_t tile,
                    const Columns& seen) {
  const int64_t padded = pad(data.shape.head_size), first = group * kGroup;
  const auto wide = whole_vectors(seen, kBFloat16Depth);
  const int64_t local = tile - span.first_key + wide.begin;
  float *weights = room.weights + first * kKeys + wide.begin, *dscores = room.dscores + first * kKeys + wide.begin;
  multiply({kGroup, wide.size(), padded, room.queries + first * padded, padded, span.key_transposed + local * padded,
            padded * kBFloat16Tile, weights, kKeys, false});
  multiply({kGroup, wide.size(), padded, room.dout + first * padded, padded, span.value_transposed + local * padded,
            padded * kBFloat16Tile, dscores, kKeys, false});
  for_strips(data, block, group, tile, seen, [&](int64_t i, const TileRows& rows) {
    add_bias(data, block.query + i, tile, rows, room.weights + i * kKeys);
    softmax_gradient(room.weights + i * kKeys, room.dscores + i * kKeys, rows, room.log_sums + i, room.means + i);
  });
  const int64_t panel = wide.begin / kBFloat16Tile * kPairsOfBlock;
  for (int64_t i = 0; i < kGroup; i += 2) {
    const int64_t at = panel + (first + i) * kBFloat16Tile;
    round_pair(weights + i * kKeys, weights + (i + 1) * kKeys, wide.size(), room.weight_pairs + at, kPairsOfBlock);
    round_pair(dscores + i * kKeys, dscores + (i + 1) * kKeys, wide.size(), room.dscore_pairs + at, kPairsOfBlock);
  }
  for (int64_t i = 0; i < kGroup; ++i) round_row(dscores + i * kKeys, wide.size(), room.dscore_rows + i * kKeys);
  multiply({kGroup, padded, wide.size(), room.dscore_rows, kKeys, span.key_plain + local * kBFloat16Tile,
            span.padded_keys * kBFloat16Tile, room.dq + first * padded, padded, true});
}

void backward_block(const Pointers<float>& data, const GradientPointers<float>& gradient, const SpanRoom& span,
                    const BlockRoom& room, const BFloat16Multiplier& multiply, const Block& block, int64_t head) {
  const auto& shape = data.shape;
  const int64_t padded = pad(shape.head_size), block_rows = block.groups() * kGroup;
  const int64_t at = block.query * data.query_row() + head * shape.head_size;
  const float scale = score_scale<float>(shape);
  gather(data.q + at, data.query_row(), block.num_queries, block_rows, shape.head_size, padded, scale, room.gathered);
  round_row(room.gathered, block_rows * padded, room.queries);
  transpose(room.queries, block_rows, padded, room.queries_transposed);
  gather(gradient.dout + at, data.query_row(), block.num_queries, block_rows, shape.head_size, padded, 1.0f,
         room.gathered);
  round_row(room.gathered, block_rows * padded, room.dout);
  transpose(room.dout, block_rows, padded, room.dout_transposed);
  std::fill_n(room.dq, block_rows * padded, 0.0f);
  for (int64_t i = 0; i < block.num_queries; ++i) {
    room.log_sums[i] = gradient.log_sum[(block.query + i) * shape.heads + head];
    room.means[i] =
        rows::dot(gradient.dout + at + i * data.query_row(), gradient.out + at + i * data.query_row(), shape.head_size);
  }
  const int64_t last_key = data.end[block.query + block.num_queries - 1];
  for (int64_t tile = data.begin[block.query] / kBFloat16Depth * kBFloat16Depth; tile < last_key; tile += kKeys) {
    const auto all =
        whole_vectors(visible_columns(data, block.query, block.query + block.num_queries, tile, kKeys), kBFloat16Depth);
    std::vector<Columns> wide;
    for (int64_t group = 0; group < block.groups(); ++group) {
      const auto seen = seen_by_group(data, block, group, tile);
      wide.push_back(seen.empty() ? Columns{0, 0} : whole_vectors(seen, kBFloat16Depth));
      if (!seen.empty()) backward_group(data, span, room, multiply, block, group, tile, seen);
    }
    // Stretches of keys that the same groups see, which stand together: within a span no range is empty.
    const auto groups_of = [&](int64_t column) {
      std::pair<int64_t, int64_t> groups{0, 0};
      for (int64_t group = 0; group < block.groups(); ++group) {
        if (column < wide[group].begin || column >= wide[group].end) continue;
        if (groups.second == 0) groups.first = group;
        groups.second = group + 1;
      }
      return groups;
    };
    for (int64_t column = all.begin; column < all.end;) {
      const auto groups = groups_of(column);
      int64_t next = column + kBFloat16Depth;
      while (next < all.end && groups_of(next) == groups) next += kBFloat16Depth;
      const int64_t local = tile - span.first_key + column, first = groups.first * kGroup;
      const int64_t pairs = column / kBFloat16Tile * kPairsOfBlock + first * kBFloat16Tile;
      if (groups.second > 0) {
        const int64_t depth = groups.second * kGroup - first;
        multiply({padded, next - column, depth, room.dout_transposed + first, block_rows, room.weight_pairs + pairs,
                  kPairsOfBlock, span.dv + local, span.padded_keys, true});
        multiply({padded, next - column, depth, room.queries_transposed + first, block_rows, room.dscore_pairs + pairs,
                  kPairsOfBlock, span.dk + local, span.padded_keys, true});
      }
      column = next;
    }
  }
  for (int64_t i = 0; i < block.num_queries; ++i) {
    float* target = gradient.dq + at + i * data.query_row();
    for (int64_t h = 0; h < shape.head_size; ++h) target[h] = room.dq[i * padded + h] * scale;
  }
}

void backward_span(const Pointers<float>& data, const GradientPointers<float>& gradient, int64_t first, int64_t last,
                   int64_t kv_head) {
  static thread_local Room<float> room;
  static thread_local Room<uint16_t> rounded_room;
  const auto& shape = data.shape;
  const int64_t padded = pad(shape.head_size), row = data.key_row();
  // Keys from the first stretch that any query sees to the end of the last; other spans may own keys at its edges.
  const int64_t first_key = data.begin[first] / kBFloat16Depth * kBFloat16Depth;
  const int64_t num_keys = std::max<int64_t>(0, data.end[last - 1] - first_key), keys = pad(num_keys);
  float* at = room.of(2 * keys * padded + kQueryBlock * (2 * padded + 2 * kKeys + 2));
  const auto take = [&at](int64_t size) { return std::exchange(at, at + size); };
  uint16_t* rounded_at = rounded_room.of(3 * keys * padded + kQueryBlock * (4 * padded + 2 * kKeys) + kGroup * kKeys);
  const auto take_rounded = [&rounded_at](int64_t size) { return std::exchange(rounded_at, rounded_at + size); };
  const SpanRoom span{first_key,
                      keys,
                      take_rounded(keys * padded),
                      take_rounded(keys * padded),
                      take_rounded(keys * padded),
                      take(keys * padded),
                      take(keys * padded)};
  const BlockRoom block_room{take(kQueryBlock * padded),
                             take(kQueryBlock * padded),
                             take(kQueryBlock * kKeys),
                             take(kQueryBlock * kKeys),
                             take_rounded(kQueryBlock * padded),
                             take_rounded(kQueryBlock * padded),
                             take_rounded(kQueryBlock * padded),
                             take_rounded(kQueryBlock * padded),
                             take_rounded(kQueryBlock * kKeys),
                             take_rounded(kQueryBlock * kKeys),
                             take_rounded(kGroup * kKeys),
                             take(kQueryBlock),
                             take(kQueryBlock)};
  const int64_t source = first_key * row + kv_head * shape.head_size;
  pack(data.k + source, row, num_keys, shape.head_size, {span.key_transposed, span.key_plain}, block_room.gathered,
       block_room.queries);
  pack(data.v + source, row, num_keys, shape.head_size, {span.value_transposed, nullptr}, block_room.gathered,
       block_room.queries);
  std::fill_n(span.dk, keys * padded, 0.0f);
  std::fill_n(span.dv, keys * padded, 0.0f);
  {
    const BFloat16Multiplier multiply(bfloat16_unit());
    for (int64_t query = first; query < last; query += kQueryBlock) {
      for (int64_t member = 0; member < shape.group(); ++member) {
        backward_block(data, gradient, span, block_room, multiply, {query, std::min(kQueryBlock, last - query)},
                       kv_head * shape.group() + member);
      }
    }
  }
  // Keys that no query of this span sees belong to others.
  for (int64_t s = data.begin[first]; s < first_key + num_keys; ++s) {
    float *dk = gradient.dk + s * row + kv_head * shape.head_size,
          *dv = gradient.dv + s * row + kv_head * shape.head_size;
    for (int64_t h = 0; h < shape.head_size; ++h) {
      dk[h] = span.dk[h * keys + s - first_key];
      dv[h] = span.dv[h * keys + s - first_key];
    }
  }
}

}  // namespace

void forward_bfloat16(const Pointers<float>& data, float* out, float* log_sum) {
  const auto& shape = data.shape;
  if (!in_bfloat16(shape)) return forward(data, out, log_sum);
  const int64_t padded = pad(shape.head_size), padded_keys = pad(shape.keys), head_room = padded_keys * padded;
  const auto room = std::make_unique_for_overwrite<uint16_t[]>(static_cast<size_t>(2 * shape.kv_heads * head_room));
  uint16_t *keys = room.get(), *values = keys + shape.kv_heads * head_room;
  parallel_tasks(shape.kv_heads, [&](int64_t head) {
    static thread_local Room<float> rows;
    static thread_local Room<uint16_t> rounded;
    const int64_t at = head * shape.head_size;
    pack(data.k + at, data.key_row(), shape.keys, shape.head_size, {keys + head * head_room, nullptr},
         rows.of(2 * padded), rounded.of(padded));
    pack(data.v + at, data.key_row(), shape.keys, shape.head_size, {nullptr, values + head * head_room},
         rows.of(2 * padded), rounded.of(padded));
  });
  const Packed packed{keys, values, head_room, padded_keys};
  const int64_t num_blocks = (shape.queries + kQueryBlock - 1) / kQueryBlock;
  parallel_tasks(num_blocks * shape.heads, [&](int64_t task) {
    const int64_t query = (num_blocks - 1 - task % num_blocks) * kQueryBlock;  // the long ones first
    forward_block(data, packed, {query, std::min(kQueryBlock, shape.queries - query)}, task / num_blocks, out, log_sum);
  });
}

void backward_bfloat16(const Pointers<float>& data, const GradientPointers<float>& gradient) {
  if (!in_bfloat16(data.shape)) return backward(data, gradient);
  const auto spans = independent_spans(data);
  const int64_t num_spans = static_cast<int64_t>(spans.size()) - 1;
  parallel_tasks(num_spans * data.shape.kv_heads, [&](int64_t task) {
    const int64_t span = task % num_spans;
    backward_span(data, gradient, spans[span], spans[span + 1], task / num_spans);
  });
}

}  // namespace dlcm::attention
