#include "dlcm/infer/row_work.h"

#include "dlcm/kernels/row_kernels.h"

namespace dlcm {

void RowWork::norm(const float* x, std::span<const float> gain, double epsilon, int64_t rows, float* y) {
  const auto size = static_cast<int64_t>(gain.size());
  for_rows(rows, size, [&](int64_t row) {
    kernels::rms_norm(x + row * size, gain.data(), y + row * size, size, static_cast<float>(epsilon));
  });
}

void RowWork::multiply(const PackedMatrix& matrix, const float* x, int64_t rows, std::vector<float>& y) {
  y.resize(static_cast<size_t>(rows * matrix.outputs));
  if (rows == 0) return;
  dlcm::multiply(pool_, matrix, x, rows, y.data());
  traffic_.weight_bytes += static_cast<int64_t>(packed_bytes(matrix.format, matrix.outputs, matrix.inputs));
}

void RowWork::multiply_add(const PackedMatrix& matrix, const float* x, int64_t rows, std::vector<float>& y) {
  multiply(matrix, x, rows, product_);
  for_rows(rows, matrix.outputs, [&](int64_t row) {
    kernels::add(product_.data() + row * matrix.outputs, y.data() + row * matrix.outputs, matrix.outputs);
  });
}

}  // namespace dlcm
