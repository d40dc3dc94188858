// What the tests of single stages share.
#pragma once

#include "tests/support/models.h"

#include <vector>

namespace dlcm::test {

inline at::Tensor tensor_of(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); }

inline std::vector<bool> flags(const at::Tensor& boundary_T) {
  const auto contiguous = boundary_T.contiguous();
  const auto* data = contiguous.const_data_ptr<bool>();
  return std::vector<bool>(data, data + boundary_T.numel());
}

// Random weights of a stage in double; gains near 1.
template <typename Stage>
void randomise(Stage& stage) {
  const at::NoGradGuard no_gradient;
  stage->to(at::kDouble);
  for (auto& entry : stage->named_parameters()) {
    entry.value().normal_(entry.key().find("gain") == std::string::npos ? 0.0 : 1.0, 0.3);
  }
}

}  // namespace dlcm::test
