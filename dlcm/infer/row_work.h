// What the stages of a pass share: the threads, loops over rows, products, and the count of what is read from memory.
#pragma once

#include "dlcm/infer/engine_traffic.h"
#include "dlcm/kernels/key_value_cache.h"
#include "dlcm/kernels/packed_matrix.h"
#include "dlcm/kernels/thread_pool.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace dlcm {

class RowWork {
 public:
  explicit RowWork(ThreadPool& pool) : pool_(pool) {}

  ThreadPool& pool() { return pool_; }
  EngineTraffic& traffic() { return traffic_; }
  const EngineTraffic& traffic() const { return traffic_; }

  // Calls each(row) for every row: on all threads where there are enough rows of `size` numbers to pay for waking them.
  template <typename Each>
  void for_rows(int64_t rows, int64_t size, const Each& each) {
    constexpr int64_t kNumbersAThread = 16384;
    const int64_t tasks = std::min({static_cast<int64_t>(pool_.threads()), rows, rows * size / kNumbersAThread});
    if (tasks <= 1) {
      for (int64_t row = 0; row < rows; ++row) each(row);
      return;
    }
    pool_.run(tasks, [&](int64_t task) {
      for (int64_t row = rows * task / tasks; row < rows * (task + 1) / tasks; ++row) each(row);
    });
  }

  // Counts the first `places` of a cache as read.
  void count_cache(const KeyValueCache& cache, int64_t places) {
    const auto& shape = cache.shape();
    traffic_.cache_bytes += places * shape.kv_heads * 2 * shape.head_size * shape.value_bytes();
  }

  // y [rows, size of gain] = RMSNorm(x) * gain; y may be x.
  void norm(const float* x, std::span<const float> gain, double epsilon, int64_t rows, float* y);
  // y [rows, outputs] = x [rows, inputs] W^T
  void multiply(const PackedMatrix& matrix, const float* x, int64_t rows, std::vector<float>& y);
  // y [rows, outputs] += x [rows, inputs] W^T
  void multiply_add(const PackedMatrix& matrix, const float* x, int64_t rows, std::vector<float>& y);

 private:
  ThreadPool& pool_;
  EngineTraffic traffic_;
  std::vector<float> product_;
};

}  // namespace dlcm
