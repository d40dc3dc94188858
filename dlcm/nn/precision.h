// The type in which linear layers multiply: float, or bfloat16 with float weights, activations and sums.
#pragma once

#include "dlcm/ops/cross_entropy.h"

namespace dlcm {

// Sets the type for linear layers called on this thread while it lives. Backward passes use the type of their forward.
class MatrixPrecision {
 public:
  explicit MatrixPrecision(bool bfloat16);
  ~MatrixPrecision();
  MatrixPrecision(const MatrixPrecision&) = delete;
  MatrixPrecision& operator=(const MatrixPrecision&) = delete;
  static bool is_bfloat16();

 private:
  bool previous_;
};

// The same for the loss (ops/cross_entropy.h).
ProductPrecision product_precision();

// True on CPUs with bfloat16 instructions (AVX512-BF16, AMX). Known from the CPU, not timed: a run that starts again
// must find the same answer. Elsewhere bfloat16 products are emulated, a hundred times slower than float.
bool bfloat16_is_fast();

}  // namespace dlcm
