// Tasks of unequal length over LibTorch's threads.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace dlcm {

// Calls task(0) ... task(count - 1); each thread takes the next one when it is done. On one thread, or inside another
// parallel region, they run in order.
template <typename Task>
void parallel_tasks(int64_t count, const Task& task) {
  const int64_t threads = std::min<int64_t>(count, at::get_num_threads());
  if (threads <= 1 || at::in_parallel_region()) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  std::atomic<int64_t> next{0};
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (int64_t i = next++; i < count; i = next++) task(i);
  });
}

}  // namespace dlcm
