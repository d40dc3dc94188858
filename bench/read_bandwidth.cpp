#include "bench/read_bandwidth.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

namespace dlcm {
namespace {

constexpr int64_t kNumbers = int64_t{1} << 27;  // of 8 bytes
constexpr int64_t kStreams = 4;                 // of a thread
constexpr int64_t kLine = 8;                    // numbers of a cache line
constexpr int kRounds = 5;

// The sum of [0, size), a line of each stream in turn.
uint64_t sum_of(const uint64_t* numbers, int64_t size) {
  const int64_t of_stream = size / kStreams / kLine * kLine;
  std::array<uint64_t, kLine> sums{};
  for (int64_t i = 0; i < of_stream; i += kLine) {
    for (int64_t stream = 0; stream < kStreams; ++stream) {
      const uint64_t* line = numbers + stream * of_stream + i;
#pragma omp simd
      for (int64_t k = 0; k < kLine; ++k) sums[static_cast<size_t>(k)] += line[k];
    }
  }
  uint64_t sum = 0;
  for (const uint64_t part : sums) sum += part;
  return sum;
}

}  // namespace

double read_bandwidth(ThreadPool& threads) {
  const std::vector<uint64_t> numbers(static_cast<size_t>(kNumbers), 1);
  const int64_t count = threads.threads();
  const int64_t of_thread = kNumbers / count / (kStreams * kLine) * (kStreams * kLine);
  double best = 0.0;
  for (int round = 0; round < kRounds; ++round) {
    std::atomic<uint64_t> sum{0};
    const auto begin = std::chrono::steady_clock::now();
    threads.run(count, [&](int64_t thread) { sum += sum_of(numbers.data() + thread * of_thread, of_thread); });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    // All numbers are 1: what was summed is what was read.
    best = std::max(best, static_cast<double>(sum) * sizeof(uint64_t) / seconds);
  }
  return best;
}

}  // namespace dlcm
