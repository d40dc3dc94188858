// The innermost loops of cached attention: a few query rows of one key head, on one thread.
#pragma once

#include "dlcm/kernels/key_value_cache.h"

#include <cstdint>

namespace dlcm {

// Softmax sums over some keys: o = sum of exp(score - largest) v, total = sum of exp(score - largest). Rows that see
// none of the keys have largest = -infinity.
struct AttentionSums {
  float* largest;  // [rows]
  float* total;    // [rows]
  float* o;        // [rows][o_row]; o_row is a whole number of panels
  int64_t o_row;
};

struct AttentionTile {
  const KeyValueCache* cache;
  int64_t kv_head;
  int64_t rows;                // at most most_tile_rows()
  const float* queries;        // [head_size][rows], already divided by sqrt(head_size)
  int64_t first, last;         // keys; first is a multiple of kCacheBlock
  const int64_t *begin, *end;  // [rows]; row i sees [begin[i], end[i]), not empty where end[i] > 0
  const float* key_bias;
  const float* last_key_bias;  // [rows]
};

void attend_tile(const AttentionTile& tile, const AttentionSums& sums);

// Adds the sums over later keys to those over earlier ones.
void add_sums(int64_t rows, const AttentionSums& earlier, const AttentionSums& later);

}  // namespace dlcm
