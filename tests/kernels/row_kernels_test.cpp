#include "dlcm/kernels/row_kernels.h"

#include "tests/kernels/instruction_sets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

namespace dlcm {
namespace {

using Row = std::vector<float>;

Row random_row(int64_t size, uint64_t seed, float scale = 1.0f) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  Row row(static_cast<size_t>(size));
  for (auto& value : row) value = normal(random);
  return row;
}

constexpr int64_t kSizes[] = {1, 2, 3, 7, 8, 15, 16, 17, 33, 64, 100, 1536, 4099};

// What `kernel` gives on each instruction set: near `expected`, and the same bits wherever multiply-add is fused.
void expect_row(const std::function<Row()>& kernel, const Row& expected, float tolerance) {
  std::vector<Row> found;
  for (const int64_t set : instruction_sets()) {
    const OnInstructionSet on(set);
    found.push_back(kernel());
    ASSERT_EQ(found.back().size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(found.back()[i], expected[i], tolerance * (1.0f + std::abs(expected[i]))) << hwy::TargetName(set);
    }
  }
  for (size_t i = 2; i < found.size(); ++i) EXPECT_EQ(found[i], found[1]);
}

TEST(RowKernels, RmsNormDividesByTheRootOfTheMeanSquare) {
  for (const int64_t size : kSizes) {
    const auto x = random_row(size, 1, 3.0f), gain = random_row(size, 2);
    double squares = 0.0;
    for (const float value : x) squares += static_cast<double>(value) * static_cast<double>(value);
    const double rms = std::sqrt(squares / static_cast<double>(size) + 1e-5);
    Row expected;
    for (size_t i = 0; i < x.size(); ++i) expected.push_back(static_cast<float>(x[i] * gain[i] / rms));
    expect_row(
        [&] {
          Row y(x.size());
          kernels::rms_norm(x.data(), gain.data(), y.data(), size, 1e-5f);
          return y;
        },
        expected, 2e-6f);
  }
}

TEST(RowKernels, RotateTurnsPairsOfHalves) {
  for (const int64_t half : kSizes) {
    const auto x = random_row(2 * half, 3), angle = random_row(half, 4);
    Row cosine, sine, expected(x.size());
    for (const float value : angle) {
      cosine.push_back(std::cos(value));
      sine.push_back(std::sin(value));
    }
    for (size_t i = 0; i < angle.size(); ++i) {
      const size_t j = i + angle.size();
      expected[i] = x[i] * cosine[i] - x[j] * sine[i];
      expected[j] = x[j] * cosine[i] + x[i] * sine[i];
    }
    expect_row(
        [&] {
          Row y = x;
          kernels::rotate(y.data(), cosine.data(), sine.data(), y.data(), half);
          return y;
        },
        expected, 1e-6f);
  }
}

TEST(RowKernels, SwiGluGatesAndNeverOverflows) {
  for (const int64_t size : kSizes) {
    auto gate = random_row(size, 5, 5.0f);
    const auto up = random_row(size, 6);
    gate[0] = size % 2 == 0 ? 200.0f : -200.0f;
    Row expected;
    for (size_t i = 0; i < gate.size(); ++i) {
      expected.push_back(static_cast<float>(gate[i] / (1.0 + std::exp(-static_cast<double>(gate[i]))) * up[i]));
    }
    expect_row(
        [&] {
          Row out(gate.size());
          kernels::swiglu(gate.data(), up.data(), out.data(), size);
          return out;
        },
        expected, 1e-6f);
  }
}

TEST(RowKernels, AddScaleAndSmooth) {
  for (const int64_t size : kSizes) {
    const auto x = random_row(size, 7), y = random_row(size, 8);
    Row sum, smoothed;
    for (size_t i = 0; i < x.size(); ++i) {
      sum.push_back((x[i] + y[i]) * 0.25f);
      smoothed.push_back(0.3f * x[i] + 0.7f * y[i]);
    }
    expect_row(
        [&] {
          Row out = y;
          kernels::add(x.data(), out.data(), size);
          kernels::scale(out.data(), size, 0.25f);
          return out;
        },
        sum, 0.0f);
    expect_row(
        [&] {
          Row out = y;
          kernels::smooth(x.data(), 0.3f, out.data(), size);
          return out;
        },
        smoothed, 1e-6f);
  }
}

TEST(RowKernels, SmoothingWithAGateOfOneStartsAfresh) {
  const auto z = random_row(50, 9);
  auto s = random_row(50, 10);
  kernels::smooth(z.data(), 1.0f, s.data(), 50);
  EXPECT_EQ(s, z);
}

TEST(RowKernels, BoundaryScoreIsHalfOfOneMinusTheCosine) {
  for (const int64_t size : kSizes) {
    const auto q = random_row(size, 11), k = random_row(size, 12);
    double product = 0.0, squares_q = 0.0, squares_k = 0.0;
    for (size_t i = 0; i < q.size(); ++i) {
      product += static_cast<double>(q[i]) * static_cast<double>(k[i]);
      squares_q += static_cast<double>(q[i]) * static_cast<double>(q[i]);
      squares_k += static_cast<double>(k[i]) * static_cast<double>(k[i]);
    }
    const double expected = (1.0 - product / std::sqrt(squares_q * squares_k)) / 2.0;
    expect_row([&] { return Row{kernels::boundary_score(q.data(), k.data(), size)}; }, {static_cast<float>(expected)},
               2e-6f);
  }
  const Row one{1.0f, 2.0f}, opposite{-1.0f, -2.0f}, zero{0.0f, 0.0f};
  EXPECT_NEAR(kernels::boundary_score(one.data(), one.data(), 2), 0.0f, 1e-6f);
  EXPECT_NEAR(kernels::boundary_score(one.data(), opposite.data(), 2), 1.0f, 1e-6f);
  EXPECT_LE(kernels::boundary_score(one.data(), opposite.data(), 2), 1.0f);
  EXPECT_EQ(kernels::boundary_score(one.data(), zero.data(), 2), 0.5f);
}

TEST(RowKernels, LogSumExpOfWideAndNarrowRows) {
  for (const int64_t size : kSizes) {
    for (const float scale : {1e-3f, 1.0f, 50.0f}) {
      const auto x = random_row(size, 13, scale);
      const double largest = *std::max_element(x.begin(), x.end());
      double sum = 0.0;
      for (const float value : x) sum += std::exp(static_cast<double>(value) - largest);
      expect_row([&] { return Row{kernels::log_sum_exp(x.data(), size)}; },
                 {static_cast<float>(largest + std::log(sum))}, 2e-6f);
    }
  }
}

TEST(RowKernels, ArgmaxIsTheFirstOfTheLargest) {
  for (const int64_t set : instruction_sets()) {
    const OnInstructionSet on(set);
    for (const int64_t size : kSizes) {
      auto x = random_row(size, 14);
      EXPECT_EQ(kernels::argmax(x.data(), size), std::max_element(x.begin(), x.end()) - x.begin());
      x[static_cast<size_t>(size - 1)] = 100.0f;
      EXPECT_EQ(kernels::argmax(x.data(), size), size - 1);
      x[static_cast<size_t>(size / 2)] = 100.0f;
      EXPECT_EQ(kernels::argmax(x.data(), size), size / 2);
    }
  }
  const Row nothing(5, -std::numeric_limits<float>::infinity());
  EXPECT_EQ(kernels::argmax(nothing.data(), 5), 0);
}

}  // namespace
}  // namespace dlcm
