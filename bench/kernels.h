// `dlcm bench kernels`: the inference engine's products, cached attention and thread pool, beside what this machine
// reads from memory and multiplies.
#pragma once

#include "dlcm/kernels/key_value_cache.h"
#include "dlcm/kernels/packed_matrix.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace dlcm {

struct KernelBench {
  int threads = 0;  // 0 takes all
  int64_t outputs = 6144, inputs = 3072;
  std::vector<int64_t> rows{1, 2, 4, 8, 16, 32, 128, 512};  // of the products
  int64_t heads = 24, kv_heads = 12, head_size = 64;
  std::vector<int64_t> places{512, 8192};   // in the caches
  std::vector<int64_t> query_rows{1, 128};  // of attention, the last ones of the places
  int64_t memory_bytes = int64_t{1} << 30;  // of different weights or caches read in turn: far more than the caches
  int repeats = 5;
};

// Three kinds of lines. "machine": threads, read_bytes_per_second, flops_per_second (fp32, 4096^3) and
// empty_region_seconds, which the threads take to share no work. "product": format, outputs, inputs, rows. "attention":
// cache, heads, kv_heads, places, rows. The latter two have seconds, fastest_seconds, slowest_seconds, bytes_per_second
// of weights or caches and share_of_bandwidth, flops_per_second and share_of_products.
std::vector<nlohmann::json> bench_kernels(const KernelBench& bench);

std::string kernel_table(const std::vector<nlohmann::json>& lines);

}  // namespace dlcm
