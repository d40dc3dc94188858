// How fast this machine reads from memory: the limit of decoding.
#pragma once

#include "dlcm/kernels/thread_pool.h"

namespace dlcm {

// Bytes a second that all threads together sum up from a buffer of a GB, each from several streams; the best of five.
double read_bandwidth(ThreadPool& threads);

}  // namespace dlcm
