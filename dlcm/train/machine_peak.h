// What this machine can do at best, to set beside what training does.
#pragma once

#include <ATen/ATen.h>

namespace dlcm {

// Operations per second of a square matrix product, 4096^3, on the threads now set; best of `attempts`. Seconds long.
double matrix_product_peak(at::ScalarType type, int attempts);

}  // namespace dlcm
