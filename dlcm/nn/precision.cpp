#include "dlcm/nn/precision.h"

#include "dlcm/nn/linear.h"

#include <algorithm>
#include <chrono>

namespace dlcm {
namespace {

thread_local bool bfloat16_active = false;

double seconds_of_product(bool bfloat16) {
  at::NoGradGuard no_gradient;
  const auto x = at::ones({1024, 512}), weight = at::ones({512, 512});
  const MatrixPrecision precision(bfloat16);
  double best = 1e9;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const auto start = std::chrono::steady_clock::now();
    linear_product(x, weight);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    if (attempt == 0 && best > 0.5) break;  // emulated bfloat16 is some hundred times slower: seen enough
  }
  return best;
}

}  // namespace

MatrixPrecision::MatrixPrecision(bool bfloat16) : previous_(bfloat16_active) { bfloat16_active = bfloat16; }
MatrixPrecision::~MatrixPrecision() { bfloat16_active = previous_; }
bool MatrixPrecision::is_bfloat16() { return bfloat16_active; }

bool bfloat16_is_faster() { return seconds_of_product(true) < 0.75 * seconds_of_product(false); }

}  // namespace dlcm
