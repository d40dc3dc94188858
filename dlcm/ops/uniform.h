// Counter-based uniform draws: a pure function of the key, whatever the order, thread or rank that asks.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace dlcm {

// What a draw is for; part of the key, so that equal counters of different uses are unrelated.
enum class DrawUse : uint64_t { boundary = 0, random_rule = 1, sampling = 2, window_order = 3, mixture = 4 };

// One draw in [0, 1) from Philox 4x32-10 keyed by (seed, use) with counter (stream, index); 53 bits.
double uniform_draw(uint64_t seed, DrawUse use, uint64_t stream, uint64_t index);

// double [count]: draws of indices first, first + 1, ... (a training step is a stream, a token of it an index).
at::Tensor uniform_draws(uint64_t seed, DrawUse use, uint64_t stream, int64_t first, int64_t count);
// double [T]: the draw of each int64 stream and index.
at::Tensor uniform_draws(uint64_t seed, DrawUse use, const at::Tensor& stream_T, const at::Tensor& index_T);

}  // namespace dlcm
