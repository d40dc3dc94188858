// Rotary positions of rows (RoPE, the half-split form): angles position * theta^(-2i/H), computed in double.
#pragma once

#include <cstdint>
#include <vector>

namespace dlcm {

class RotaryRows {
 public:
  // Forgets what was set.
  void reset(int64_t rows, int64_t head_size, double theta);
  void set(int64_t row, int64_t position);
  // Rotates `heads` heads that lie one after the other at x.
  void rotate(int64_t row, float* x, int64_t heads) const;

 private:
  int64_t half_ = 0;
  std::vector<double> frequencies_;
  std::vector<float> cosines_, sines_;  // [rows, H / 2]
};

}  // namespace dlcm
