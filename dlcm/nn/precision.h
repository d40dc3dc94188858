// The type in which linear layers multiply: float, or bfloat16 with float weights, activations and sums.
#pragma once

#include <ATen/ATen.h>

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

// Times both types on this machine's threads; true where bfloat16 products, conversions included, are clearly faster.
bool bfloat16_is_faster();

}  // namespace dlcm
