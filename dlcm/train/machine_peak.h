// What this machine has, to set beside what training takes.
#pragma once

#include <ATen/ATen.h>

namespace dlcm {

// Operations per second of a square matrix product, 4096^3, on the threads now set; best of `attempts`. Seconds long.
double matrix_product_peak(at::ScalarType type, int attempts);

int64_t machine_memory_bytes();

}  // namespace dlcm
