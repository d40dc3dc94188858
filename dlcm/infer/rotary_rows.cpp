#include "dlcm/infer/rotary_rows.h"

#include "dlcm/kernels/row_kernels.h"

#include <cmath>

namespace dlcm {

void RotaryRows::reset(int64_t rows, int64_t head_size, double theta) {
  half_ = head_size / 2;
  frequencies_.clear();
  for (int64_t i = 0; i < half_; ++i) {
    frequencies_.push_back(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_size)));
  }
  cosines_.resize(static_cast<size_t>(rows * half_));
  sines_.resize(cosines_.size());
}

void RotaryRows::set(int64_t row, int64_t position) {
  for (int64_t i = 0; i < half_; ++i) {
    const double angle = static_cast<double>(position) * frequencies_[static_cast<size_t>(i)];
    cosines_[static_cast<size_t>(row * half_ + i)] = static_cast<float>(std::cos(angle));
    sines_[static_cast<size_t>(row * half_ + i)] = static_cast<float>(std::sin(angle));
  }
}

void RotaryRows::rotate(int64_t row, float* x, int64_t heads) const {
  for (int64_t head = 0; head < heads; ++head, x += 2 * half_) {
    kernels::rotate(x, cosines_.data() + row * half_, sines_.data() + row * half_, x, half_);
  }
}

}  // namespace dlcm
