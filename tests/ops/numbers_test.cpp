// The random draws against known answers, and the row kernels' softmax against double.
#include "dlcm/ops/row_kernels.h"
#include "dlcm/ops/uniform.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <vector>

namespace dlcm {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

double from_words(uint32_t first, uint32_t second) {
  return static_cast<double>((uint64_t{first} << 32 | second) >> 11) * 0x1p-53;
}

// The first two words of Philox 4x32-10 as its authors publish them (Random123, kat_vectors).
TEST(Uniform, GivesPhiloxKnownAnswers) {
  EXPECT_EQ(uniform_draw(0, DrawUse::boundary, 0, 0), from_words(0x6627e8d5, 0xe169c58d));
  // Key 299f31d0 a4093822 is seed * 4 + 2: DrawUse::sampling.
  EXPECT_EQ(uniform_draw(0x299f31d0a4093822 >> 2, DrawUse::sampling, 0x0370734413198a2e, 0x85a308d3243f6a88),
            from_words(0xd16cfe09, 0x94fdcceb));
}

TEST(Uniform, ManyDrawsAreThoseOfOneByOne) {
  const auto draws = uniform_draws(9, DrawUse::boundary, 3, 1000, 40);
  const auto streams = at::tensor({0, 5, 4095, 5}, at::kLong), places = at::tensor({7, 0, 123456789, 7}, at::kLong);
  const auto chosen = uniform_draws(9, DrawUse::random_rule, streams, places);
  ASSERT_EQ(draws.scalar_type(), at::kDouble);
  for (int64_t i = 0; i < 40; ++i) {
    EXPECT_EQ(draws[i].item<double>(), uniform_draw(9, DrawUse::boundary, 3, static_cast<uint64_t>(1000 + i)));
  }
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(chosen[i].item<double>(),
              uniform_draw(9, DrawUse::random_rule, static_cast<uint64_t>(streams[i].item<int64_t>()),
                           static_cast<uint64_t>(places[i].item<int64_t>())));
  }
  EXPECT_EQ(uniform_draws(9, DrawUse::boundary, 3, 0, 0).size(0), 0);
}

TEST(Uniform, SplitsOfAStepDrawTheSameBits) {
  const auto whole = uniform_draws(5, DrawUse::boundary, 77, 0, 300);
  const auto parts =
      at::cat({uniform_draws(5, DrawUse::boundary, 77, 0, 128), uniform_draws(5, DrawUse::boundary, 77, 128, 172)});
  EXPECT_TRUE(at::equal(whole, parts));
}

TEST(Uniform, EveryPartOfTheKeyMatters) {
  std::set<double> values{uniform_draw(1, DrawUse::boundary, 2, 3)};
  values.insert(uniform_draw(2, DrawUse::boundary, 2, 3));
  values.insert(uniform_draw(1, DrawUse::random_rule, 2, 3));
  values.insert(uniform_draw(1, DrawUse::sampling, 2, 3));
  values.insert(uniform_draw(1, DrawUse::boundary, 3, 3));
  values.insert(uniform_draw(1, DrawUse::boundary, 2, 4));
  values.insert(uniform_draw(1, DrawUse::boundary, 3, 2));
  EXPECT_EQ(values.size(), 7U);
}

TEST(Uniform, DrawsFillTheUnitInterval) {
  constexpr int64_t kCount = 100000;
  const auto draws = uniform_draws(123, DrawUse::boundary, 1, 0, kCount);
  EXPECT_GE(draws.min().item<double>(), 0.0);
  EXPECT_LT(draws.max().item<double>(), 1.0);
  // Five standard errors: sqrt(1/12 / n) and sqrt((1/80 - 1/144) / n).
  EXPECT_NEAR(draws.mean().item<double>(), 0.5, 5 * std::sqrt(1.0 / 12 / kCount));
  EXPECT_NEAR((draws - 0.5).square().mean().item<double>(), 1.0 / 12, 5 * std::sqrt((1.0 / 80 - 1.0 / 144) / kCount));
  const auto tenths = at::histc(draws, 10, 0.0, 1.0);
  EXPECT_LT((tenths - kCount / 10.0).abs().max().item<double>(), 5 * std::sqrt(kCount * 0.09));
  // Neighbours, steps and uses are unrelated: products of deviations have deviation (1/12) sqrt(n).
  const auto related = [&](const at::Tensor& other) {
    return std::abs(((draws - 0.5) * (other - 0.5)).sum().item<double>()) * 12 / std::sqrt(kCount);
  };
  EXPECT_LT(related(uniform_draws(123, DrawUse::boundary, 1, 1, kCount)), 5.0);
  EXPECT_LT(related(uniform_draws(123, DrawUse::boundary, 2, 0, kCount)), 5.0);
  EXPECT_LT(related(uniform_draws(123, DrawUse::sampling, 1, 0, kCount)), 5.0);
  EXPECT_LT(related(uniform_draws(124, DrawUse::boundary, 1, 0, kCount)), 5.0);
}

// Softmax of row[begin, end) in double.
std::pair<std::vector<double>, double> exact_softmax(const std::vector<float>& row, int64_t begin, int64_t end) {
  std::vector<double> weights(row.size(), 0.0);
  double largest = -kInfinity, sum = 0.0;
  for (int64_t i = begin; i < end; ++i) largest = std::max<double>(largest, row[i]);
  for (int64_t i = begin; i < end; ++i) sum += weights[i] = std::exp(row[i] - largest);
  for (auto& weight : weights) weight /= sum;
  return {weights, largest + std::log(sum)};
}

TEST(RowKernels, SoftmaxEqualsDoubleOnEveryRange) {
  std::mt19937_64 random(11);
  for (int trial = 0; trial < 3000; ++trial) {
    const auto size = static_cast<int64_t>(1 + random() % 70);
    const auto begin = static_cast<int64_t>(random() % size);
    const auto end = begin + 1 + static_cast<int64_t>(random() % (size - begin));
    const float scale = std::pow(10.0F, static_cast<float>(random() % 8) - 3.0F);
    std::vector<float> row(size);
    for (auto& value : row) value = scale * std::normal_distribution<float>()(random);
    for (auto& value : row) value = random() % 10 == 0 ? -kInfinity : value;
    row[begin] = scale;  // at least one is finite
    const auto [weights, log_sum] = exact_softmax(row, begin, end);
    const auto scores = row;
    const float actual_log_sum = rows::softmax(row.data(), size, begin, end);
    EXPECT_NEAR(actual_log_sum, log_sum, 2e-6 * std::max(1.0, std::abs(log_sum)));
    for (int64_t i = 0; i < size; ++i) {
      // Beside the exponential's own error, score minus largest is rounded once.
      const double slack = 1e-6 + 7e-8 * std::max(0.0, log_sum - scores[i]);
      ASSERT_NEAR(row[i], weights[i], weights[i] == 0.0 ? 1e-37 : slack * weights[i] + 1e-37)
          << "trial " << trial << ", " << i << " of " << size;
      if (i < begin || i >= end) {
        ASSERT_EQ(row[i], 0.0F);
      }
    }
  }
}

TEST(RowKernels, NarrowRoundsAsLibTorchDoes) {
  std::mt19937_64 random(12);
  std::vector<float> numbers{0.0F, -0.0F, kInfinity, -kInfinity, 1e-45F, 3.4e38F, -3.4e38F, 1.00390625F, 1.01171875F};
  for (int i = 0; i < 20000; ++i) {
    const float number = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (std::isfinite(number)) numbers.push_back(number);
  }
  const auto size = static_cast<int64_t>(numbers.size());
  std::vector<uint16_t> low(numbers.size());
  rows::narrow(numbers.data(), low.data(), size);
  std::vector<float> back(numbers.size());
  rows::widen(low.data(), back.data(), size);
  const auto expected = at::from_blob(numbers.data(), {size}).to(at::kBFloat16).to(at::kFloat);
  EXPECT_TRUE(at::equal(at::from_blob(back.data(), {size}), expected));
  const float nan = std::nanf("");
  rows::narrow(&nan, low.data(), 1);
  rows::widen(low.data(), back.data(), 1);
  EXPECT_TRUE(std::isnan(back[0]));
}

TEST(RowKernels, SoftmaxTakesTheLargestFloats) {
  std::vector<float> row{3e38F, -3e38F, 3e38F, -kInfinity};
  rows::softmax(row.data(), 4, 0, 4);
  EXPECT_EQ(row, (std::vector<float>{0.5F, 0.0F, 0.5F, 0.0F}));
}

TEST(RowKernels, SoftmaxSpreadsNotANumber) {
  for (const int64_t place : {0, 3, 18}) {
    std::vector<float> row(19, 1.0F);
    row[place] = std::nanf("");
    EXPECT_TRUE(std::isnan(rows::softmax(row.data(), 19, 0, 19)));
    for (const float value : row) EXPECT_TRUE(std::isnan(value));
  }
}

TEST(RowKernels, SoftmaxOfNothingIsZeros) {
  for (const auto& [begin, end] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 0}, {2, 2}, {3, 1}, {9, 9}, {9, 2}, {1, -4}}) {
    std::vector<float> row(5, std::nanf(""));
    EXPECT_EQ(rows::softmax(row.data(), 5, begin, end), -kInfinity);
    EXPECT_EQ(row, std::vector<float>(5, 0.0F));
    std::vector<double> wide(5, std::nan(""));
    EXPECT_EQ(rows::softmax(wide.data(), 5, begin, end), -std::numeric_limits<double>::infinity());
    EXPECT_EQ(wide, std::vector<double>(5, 0.0));
  }
}

}  // namespace
}  // namespace dlcm
