// Compiled once per instruction set by Highway. Without the precompiled header: targets are set before any include.
#include "dlcm/kernels/read_speed.h"

#include "dlcm/kernels/scratch.h"

// Vectors of unknown size cannot lie in arrays.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3 | HWY_SSE4)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "dlcm/kernels/read_speed.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include "dlcm/kernels/chain_tile-inl.h"

#include <hwy/highway.h>

#include <algorithm>
#include <atomic>
#include <chrono>

HWY_BEFORE_NAMESPACE();
namespace dlcm {
namespace HWY_NAMESPACE {

// The sum of the 32-bit numbers in [begin, begin + 4 * stream), read from four places in turn.
uint32_t sum_streams(const std::byte* begin, int64_t stream) {
  const hn::ScalableTag<uint32_t> d;
  constexpr int64_t kStreams = 4, kLine = 64, kAhead = 2048, kVector = 4 * HWY_LANES(uint32_t);
  hn::Vec<decltype(d)> sums[kStreams];
#pragma GCC unroll 4
  for (auto& sum : sums) sum = hn::Zero(d);
  for (int64_t i = 0; i < stream; i += kLine) {
#pragma GCC unroll 4
    for (int64_t s = 0; s < kStreams; ++s) {
      const std::byte* line = begin + s * stream + i;
      prefetch(line + kAhead, kLine);
#pragma GCC unroll 16
      for (int64_t k = 0; k < kLine; k += kVector) {
        sums[s] = hn::Add(sums[s], hn::LoadU(d, reinterpret_cast<const uint32_t*>(line + k)));
      }
    }
  }
  const auto sum = hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]));
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

}  // namespace HWY_NAMESPACE
}  // namespace dlcm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dlcm {

HWY_EXPORT(sum_streams);

double read_speed(ThreadPool& threads, int64_t bytes, int rounds) {
  constexpr int64_t kStreams = 4, kLine = 64, kTasksOfThread = 4;
  const int64_t tasks = kTasksOfThread * threads.threads();
  const int64_t stream = std::max<int64_t>(1, bytes / tasks / kStreams / kLine) * kLine, task = kStreams * stream;
  Scratch scratch;
  std::byte* memory = scratch.of_size(static_cast<size_t>(tasks * task));
  threads.run(tasks, [&](int64_t i) { std::fill_n(reinterpret_cast<uint32_t*>(memory + i * task), task / 4, 1u); });
  double best = 0.0;
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int64_t> sum{0};
    const auto begin = std::chrono::steady_clock::now();
    threads.run(tasks, [&](int64_t i) { sum += HWY_DYNAMIC_DISPATCH(sum_streams)(memory + i * task, stream); });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    // All numbers are 1: what was summed up is what was read.
    best = std::max(best, static_cast<double>(sum) * sizeof(uint32_t) / seconds);
  }
  return best;
}

}  // namespace dlcm
#endif
