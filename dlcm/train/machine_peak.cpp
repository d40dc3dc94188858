#include "dlcm/train/machine_peak.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace dlcm {

double matrix_product_peak(at::ScalarType type, int attempts) {
  constexpr int64_t kSize = 4096;
  at::NoGradGuard no_gradient;
  const auto a = at::ones({kSize, kSize}, type), b = at::ones({kSize, kSize}, type);
  auto product = at::empty({kSize, kSize}, type);
  double best_seconds = 1e30;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    const auto start = std::chrono::steady_clock::now();
    at::mm_out(product, a, b);
    best_seconds =
        std::min(best_seconds, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return 2.0 * kSize * kSize * kSize / best_seconds;
}

int64_t machine_memory_bytes() { return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE); }

}  // namespace dlcm
