// An op beside its reference, for tests of both.
#pragma once

#include "tests/support/gradients.h"

#include <vector>

namespace dlcm::test {

// An op and its reference as functions of their differentiable inputs.
struct Pair {
  test::Function fast, reference;
};

inline void expect_equal(const Pair& pair, const Tensors& inputs) {
  expect_equal_to_reference(pair.fast, pair.reference, inputs);
}

inline at::Tensor tensor_of(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); }

inline constexpr at::ScalarType kTypes[] = {at::kFloat, at::kDouble};

}  // namespace dlcm::test
