// Attention of some rows of each of several sequences to their caches (range attention of SPEC section 1).
// A row's result depends on its own query, begin, end and cache alone: keys are taken in blocks of 64 places from the
// first one on, 1024 places make a part of their own, and parts are put together in ascending order, whatever the
// number of rows and threads.
#pragma once

#include "dlcm/kernels/key_value_cache.h"
#include "dlcm/kernels/thread_pool.h"

#include <cstdint>
#include <span>

namespace dlcm {

// o = softmax(q k^T / sqrt(H) + bias) v for `rows` rows of one sequence, row i reading places [begin[i], end[i]); zeros
// where that is empty. Query head n reads key head n / (heads / kv_heads).
struct AttentionWork {
  const KeyValueCache* cache;
  int64_t rows;
  const float* queries;  // row i [heads, head_size] at queries + i * query_row
  int64_t query_row;
  float* out;  // row i [heads, head_size] at out + i * out_row
  int64_t out_row;
  const int64_t* end;                    // [rows], at most cache->size()
  const int64_t* begin = nullptr;        // [rows], below end; without it 0
  const float* key_bias = nullptr;       // [cache->size()]: added to the scores of key s
  const float* last_key_bias = nullptr;  // [rows]: replaces the key bias at end[i] - 1
};

void attend(ThreadPool& threads, int64_t heads, std::span<const AttentionWork> works);

}  // namespace dlcm
