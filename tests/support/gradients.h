// What tests of ops share: distances between tensors, gradients by autograd, and gradients by finite differences.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

namespace dlcm::test {

using Tensors = std::vector<at::Tensor>;
using Function = std::function<at::Tensor(const Tensors&)>;

// The largest |a - b|, as a share of the largest |b| where that is above 1. Infinite where shapes differ or a
// difference is not finite.
inline double distance(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return std::numeric_limits<double>::infinity();
  if (a.numel() == 0) return 0.0;
  const auto left = a.detach().to(at::kDouble), right = b.detach().to(at::kDouble);
  const double largest = (left - right).abs().max().item<double>();
  if (!std::isfinite(largest)) return std::numeric_limits<double>::infinity();
  return largest / std::max(1.0, right.abs().max().item<double>());
}

// Rounding to expect of sums of some hundred terms near 1.
inline double tolerance_of(at::ScalarType type) { return type == at::kDouble ? 1e-12 : 2e-5; }

// Fixed random numbers in the shape and type of `value`: with them a tensor becomes one number to differentiate.
inline at::Tensor direction_like(const at::Tensor& value) {
  at::manual_seed(4711);
  return at::randn(value.sizes(), value.options());
}

struct ValueAndGradients {
  at::Tensor value;
  Tensors gradients;  // of sum(value * direction) by each input; zeros where it does not depend on one
};

inline ValueAndGradients value_and_gradients(const Function& function, const Tensors& inputs) {
  Tensors leaves;
  for (const auto& input : inputs) leaves.push_back(input.detach().requires_grad_());
  ValueAndGradients result;
  const auto value = function(leaves);
  result.value = value.detach();
  (value * direction_like(value.detach())).sum().backward();
  for (const auto& leaf : leaves) {
    result.gradients.push_back(leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf));
  }
  return result;
}

inline void expect_equal_to_reference(const Function& fast, const Function& reference, const Tensors& inputs) {
  const auto actual = value_and_gradients(fast, inputs);
  const auto expected = value_and_gradients(reference, inputs);
  const double tolerance = tolerance_of(inputs[0].scalar_type());
  EXPECT_EQ(actual.value.scalar_type(), expected.value.scalar_type());
  EXPECT_LE(distance(actual.value, expected.value), tolerance);
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_LE(distance(actual.gradients[i], expected.gradients[i]), tolerance) << "gradient of input " << i;
  }
}

// Central differences of every element of double inputs.
inline void expect_finite_differences(const Function& function, const Tensors& inputs) {
  constexpr double kStep = 1e-5;
  const auto exact = value_and_gradients(function, inputs);
  const auto direction = direction_like(exact.value);
  const at::NoGradGuard no_gradient;
  for (size_t i = 0; i < inputs.size(); ++i) {
    auto numeric = at::zeros(inputs[i].sizes(), at::kDouble);
    auto moved = inputs;
    moved[i] = inputs[i].clone(at::MemoryFormat::Contiguous);
    for (int64_t element = 0; element < numeric.numel(); ++element) {
      auto place = moved[i].view(-1)[element];
      const double value = place.item<double>();
      place.fill_(value + kStep);
      const double above = (function(moved) * direction).sum().item<double>();
      place.fill_(value - kStep);
      const double below = (function(moved) * direction).sum().item<double>();
      place.fill_(value);
      numeric.view(-1)[element] = (above - below) / (2 * kStep);
    }
    EXPECT_LE(distance(exact.gradients[i], numeric), 1e-7) << "gradient of input " << i;
  }
}

// The number of LibTorch's threads, put back at the end of its life.
class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

// Values and gradients of one thread and of two are the same bits.
inline void expect_independent_of_threads(const Function& function, const Tensors& inputs) {
  const auto run = [&](int threads) {
    const Threads count(threads);
    return value_and_gradients(function, inputs);
  };
  const auto one = run(1), two = run(2);
  EXPECT_TRUE(at::equal(one.value, two.value));
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_TRUE(at::equal(one.gradients[i], two.gradients[i])) << "gradient of input " << i;
  }
}

// The same numbers spread over memory with gaps in every dimension.
inline at::Tensor with_gaps(const at::Tensor& tensor) {
  std::vector<int64_t> wide;
  for (const int64_t size : tensor.sizes()) wide.push_back(2 * size);
  auto view = at::full(wide, 1e30, tensor.options());
  for (int64_t dimension = 0; dimension < tensor.dim(); ++dimension) {
    view = view.slice(dimension, 0, wide[dimension], 2);
  }
  view.copy_(tensor);
  return view;
}

}  // namespace dlcm::test
