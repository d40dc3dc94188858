// How fast this machine reads from memory: the limit of decoding, measured with the engine's own threads.
#pragma once

#include "dlcm/kernels/thread_pool.h"

#include <cstdint>

namespace dlcm {

// Bytes a second that all threads together sum up from a buffer of `bytes` bytes, which should be far larger than the
// caches, each from four places in turn; the best of `rounds`.
double read_speed(ThreadPool& threads, int64_t bytes = int64_t{1} << 30, int rounds = 5);

}  // namespace dlcm
