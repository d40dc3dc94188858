// The tile kernels of attention against plain loops in double.
#include "dlcm/ops/attention_tiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace dlcm {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename T>
std::vector<T> random_numbers(int64_t size, std::mt19937_64& random) {
  std::vector<T> numbers(size);
  for (auto& number : numbers) number = static_cast<T>(std::normal_distribution<double>()(random));
  return numbers;
}

// Every layout of A and B that attention uses, at all remainders of rows, columns and depth.
template <typename T>
void expect_products(double tolerance) {
  std::mt19937_64 random(1);
  const int64_t lanes = tile_lanes<T>();
  for (int trial = 0; trial < 300; ++trial) {
    const int64_t rows = 1 + random() % 20, columns = lanes * (1 + random() % 9), depth = random() % 40;
    const bool a_transposed = random() % 2 == 0, panels = random() % 2 == 0, accumulate = random() % 2 == 0;
    const int64_t c_row = columns + random() % 5;
    const auto a = random_numbers<T>(rows * depth, random), b = random_numbers<T>(depth * columns, random);
    auto c = random_numbers<T>(rows * c_row, random);
    const auto before = c;
    multiply(TileProduct<T>{rows, columns, depth, a.data(), a_transposed ? 1 : depth, a_transposed ? rows : 1, b.data(),
                            panels ? lanes : columns, panels ? depth * lanes : lanes, c.data(), c_row, accumulate});
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < c_row; ++j) {
        double expected = before[i * c_row + j];
        if (j < columns) {
          expected = accumulate ? expected : 0.0;
          for (int64_t k = 0; k < depth; ++k) {
            const int64_t b_at = panels ? j / lanes * depth * lanes + k * lanes + j % lanes : k * columns + j;
            expected += static_cast<double>(a[a_transposed ? k * rows + i : i * depth + k]) * b[b_at];
          }
        }
        ASSERT_NEAR(c[i * c_row + j], expected, tolerance)
            << rows << "x" << columns << "x" << depth << " at " << i << ", " << j;
      }
    }
  }
}

TEST(TileProduct, EqualsPlainLoopsInFloat) { expect_products<float>(2e-5); }
TEST(TileProduct, EqualsPlainLoopsInDouble) { expect_products<double>(1e-13); }

TEST(TileProduct, ElementsDoNotDependOnHowRowsAndColumnsAreCut) {
  std::mt19937_64 random(2);
  const int64_t lanes = tile_lanes<float>(), rows = 13, columns = 7 * lanes, depth = 50;
  const auto a = random_numbers<float>(rows * depth, random), b = random_numbers<float>(depth * columns, random);
  std::vector<float> whole(rows * columns), one(lanes);
  multiply(TileProduct<float>{rows, columns, depth, a.data(), depth, 1, b.data(), columns, lanes, whole.data(), columns,
                              false});
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; j += lanes) {
      multiply(TileProduct<float>{1, lanes, depth, a.data() + i * depth, depth, 1, b.data() + j, columns, lanes,
                                  one.data(), lanes, false});
      for (int64_t lane = 0; lane < lanes; ++lane) ASSERT_EQ(one[lane], whole[i * columns + j + lane]);
    }
  }
}

// The weights of softmax_gradient with a log-sum of 0 are the exponential.
std::vector<float> exponentials(const std::vector<float>& values) {
  const auto size = static_cast<int64_t>(values.size());
  const int64_t lanes = tile_lanes<float>(), room = (size + lanes - 1) / lanes * lanes;
  std::vector<float> weights(values), gradient(room, 0.0F);
  weights.resize(room);
  const float zero = 0.0F;
  softmax_gradient(weights.data(), gradient.data(), {1, room, 0, room, {0}, {size}}, &zero, &zero);
  weights.resize(size);
  return weights;
}

TEST(TileSoftmax, ExponentialIsWithinItsStatedError) {
  std::vector<float> inputs;
  for (int i = 0; i < 400000; ++i) inputs.push_back(-87.3365F + 175.7F * static_cast<float>(i) / 400000);
  for (float tiny = 1e-30F; tiny < 1.0F; tiny *= 3.0F) inputs.insert(inputs.end(), {tiny, -tiny});
  const auto results = exponentials(inputs);
  double worst = 0.0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const double exact = std::exp(static_cast<double>(inputs[i]));
    worst = std::max(worst, std::abs(results[i] - exact) / exact);
  }
  EXPECT_LT(worst, 2e-7);
  EXPECT_EQ(exponentials({0.0F})[0], 1.0F);
}

TEST(TileSoftmax, ExponentialEndsInZero) {
  for (const float result : exponentials({-87.4F, -104.0F, -1e10F, -3e38F, -kInfinity})) EXPECT_EQ(result, 0.0F);
  EXPECT_TRUE(std::isnan(exponentials({std::nanf("")})[0]));
}

// Strips of rows met in pieces of whole vectors, each query seeing any part of them: the sums of the whole, whatever
// the order of the largest; then the weights again from the log-sum, and their gradient.
template <typename T>
void expect_softmax(double tolerance) {
  std::mt19937_64 random(3);
  const int64_t lanes = tile_lanes<T>();
  for (int trial = 0; trial < 1000; ++trial) {
    const int64_t size = lanes * static_cast<int64_t>(1 + random() % 9),
                  stride = size + static_cast<int64_t>(random() % 3);
    TileRows rows{static_cast<int64_t>(1 + random() % kMostTileRows), stride, 0, size, {}, {}};
    const double scale = std::pow(10.0, static_cast<double>(random() % 8) - 3.0);
    auto scores = random_numbers<T>(rows.count * stride, random);
    for (auto& score : scores) {
      score = random() % 10 == 0 ? -std::numeric_limits<T>::infinity() : static_cast<T>(scale) * score;
    }
    std::array<double, kMostTileRows> exact_largest{}, log_sum{};
    std::array<T, kMostTileRows> largest{}, total{}, correction{}, rounded_log_sum{}, mean{};
    for (int64_t i = 0; i < rows.count; ++i) {
      rows.begin[i] = static_cast<int64_t>(random() % size);
      rows.end[i] = rows.begin[i] + 1 + static_cast<int64_t>(random() % (size - rows.begin[i]));
      scores[i * stride + rows.begin[i]] = static_cast<T>(scale);  // at least one is finite, the first that is seen
      if (random() % 8 == 0) rows.begin[i] = rows.end[i];
      const T* row = scores.data() + i * stride;
      double exact_total = 0.0;
      exact_largest[i] = -kInfinity;
      for (int64_t at = rows.begin[i]; at < rows.end[i]; ++at)
        exact_largest[i] = std::max<double>(exact_largest[i], row[at]);
      for (int64_t at = rows.begin[i]; at < rows.end[i]; ++at) exact_total += std::exp(row[at] - exact_largest[i]);
      log_sum[i] = exact_largest[i] + std::log(exact_total);
      rounded_log_sum[i] = static_cast<T>(log_sum[i]);
      mean[i] = T(0.5) + static_cast<T>(i);
      largest[i] = -std::numeric_limits<T>::infinity();
    }

    auto pieces = scores;
    for (int64_t first = 0; first < size;) {
      auto piece = rows;
      piece.first = first;
      piece.last = std::min<int64_t>(size, first + lanes * static_cast<int64_t>(1 + random() % 5));
      for (int64_t i = 0; i < rows.count; ++i) {
        piece.begin[i] = std::clamp(rows.begin[i], piece.first, piece.last);
        piece.end[i] = std::clamp(rows.end[i], piece.begin[i], piece.last);
      }
      softmax_more(pieces.data(), piece, largest.data(), total.data(), correction.data());
      for (int64_t i = 0; i < rows.count; ++i) {
        for (int64_t at = 0; at < first; ++at) pieces[i * stride + at] *= correction[i];
      }
      first = piece.last;
    }
    auto again = scores;
    auto gradient = random_numbers<T>(rows.count * stride, random);
    const auto above = gradient;
    softmax_gradient(again.data(), gradient.data(), rows, rounded_log_sum.data(), mean.data());
    for (int64_t i = 0; i < rows.count; ++i) {
      ASSERT_EQ(static_cast<double>(largest[i]), exact_largest[i]);
      if (rows.begin[i] < rows.end[i]) {
        ASSERT_NEAR(largest[i] + std::log(total[i]), log_sum[i], tolerance * std::max(1.0, std::abs(log_sum[i])));
      }
      for (int64_t column = 0; column < size; ++column) {
        const int64_t at = i * stride + column;
        const bool seen = column >= rows.begin[i] && column < rows.end[i];
        if (!seen) {
          ASSERT_EQ(pieces[at], T(0));
          ASSERT_EQ(again[at], T(0));
          ASSERT_EQ(gradient[at], T(0));
          continue;
        }
        const double weight = std::exp(scores[at] - log_sum[i]);
        const double slack =
            tolerance * (2.0 + (std::abs(log_sum[i]) + std::clamp<double>(log_sum[i] - scores[at], 0.0, 1e3)) / 10);
        ASSERT_NEAR(pieces[at] / total[i], weight, slack * weight + 1e-37);
        ASSERT_NEAR(again[at], weight, slack * weight + 1e-37);
        ASSERT_EQ(gradient[at], again[at] * (above[at] - mean[i]));
      }
    }
  }
}

TEST(TileSoftmax, PiecesAreTheWholeInFloat) { expect_softmax<float>(2e-6); }
TEST(TileSoftmax, PiecesAreTheWholeInDouble) { expect_softmax<double>(1e-14); }

TEST(TileSoftmax, NothingSeenIsZerosAndChangesNoSum) {
  const int64_t lanes = tile_lanes<float>();
  std::vector<float> scores(2 * lanes, std::nanf("")), gradient(2 * lanes, std::nanf(""));
  float largest = 3.0F, total = 2.0F, correction = 0.0F;
  const TileRows rows{1, 2 * lanes, 0, 2 * lanes, {2}, {2}};
  softmax_more(scores.data(), rows, &largest, &total, &correction);
  EXPECT_EQ(scores, std::vector<float>(2 * lanes, 0.0F));
  EXPECT_EQ(largest, 3.0F);
  EXPECT_EQ(total, 2.0F);
  EXPECT_EQ(correction, 1.0F);
  softmax_gradient(scores.data(), gradient.data(), rows, &total, &total);
  EXPECT_EQ(gradient, std::vector<float>(2 * lanes, 0.0F));
}

TEST(TileSoftmax, NotANumberSpreads) {
  const int64_t lanes = tile_lanes<float>();
  for (int64_t place = 0; place < 3 * lanes; ++place) {
    std::vector<float> scores(3 * lanes, 1.0F);
    scores[place] = std::nanf("");
    float largest = -kInfinity, total = 0.0F, correction = 0.0F;
    softmax_more(scores.data(), {1, 3 * lanes, 0, 3 * lanes, {0}, {3 * lanes}}, &largest, &total, &correction);
    EXPECT_TRUE(std::isnan(total)) << place;
  }
}

}  // namespace
}  // namespace dlcm
