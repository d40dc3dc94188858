#include "dlcm/kernels/packed_matrix.h"

#include "tests/kernels/instruction_sets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <new>
#include <random>
#include <vector>

namespace dlcm {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::float32, WeightFormat::bfloat16, WeightFormat::int8,
                                     WeightFormat::int4};

std::vector<float> random_floats(int64_t count, uint64_t seed, float scale = 1.0f) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(static_cast<size_t>(count));
  for (auto& value : values) value = normal(random);
  return values;
}

struct Packed {
  std::vector<std::byte> memory;
  PackedMatrix matrix;
};

Packed packed(WeightFormat format, int64_t outputs, int64_t inputs, const std::vector<float>& weights) {
  ThreadPool threads(2);
  Packed packed;
  const size_t bytes = packed_bytes(format, outputs, inputs);
  packed.memory.assign(bytes + kPackedAlignment, std::byte{0xA5});
  auto* begin = packed.memory.data();
  while (reinterpret_cast<uintptr_t>(begin) % kPackedAlignment != 0) ++begin;
  pack(threads, format, outputs, inputs, weights.data(), begin);
  packed.matrix = {format, outputs, inputs, begin};
  return packed;
}

std::vector<float> unpacked(const PackedMatrix& matrix) {
  std::vector<float> weights(static_cast<size_t>(matrix.outputs * matrix.inputs));
  unpack(matrix, weights.data());
  return weights;
}

std::vector<float> product(const PackedMatrix& matrix, const std::vector<float>& x, int64_t rows, int threads = 1) {
  ThreadPool pool(threads);
  std::vector<float> y(static_cast<size_t>(rows * matrix.outputs), -7.0f);
  multiply(pool, matrix, x.data(), rows, y.data());
  return y;
}

// The chain of sums that multiply() promises, in plain loops over the weights and scales that were packed.
float reference(const PackedMatrix& matrix, const std::vector<float>& weights, const float* x, int64_t output) {
  const float* w = weights.data() + output * matrix.inputs;
  const int64_t group = group_inputs(matrix.format);
  float y = 0.0f;
  if (group == 1) {
    for (int64_t i = 0; i < matrix.inputs; ++i) y = std::fma(x[i], w[i], y);
    return y;
  }
  for (int64_t begin = 0; begin < matrix.inputs; begin += group) {
    const int64_t size = std::min(group, matrix.inputs - begin);
    // The scale is read back from the panel's bytes: bfloat16 at the head of each group.
    const auto* scales = reinterpret_cast<const uint16_t*>(
        matrix.data + static_cast<size_t>(output / kPanelOutputs) * panel_bytes(matrix.format, matrix.inputs) +
        panel_bytes(matrix.format, begin));
    const float scale = std::bit_cast<float>(static_cast<uint32_t>(scales[output % kPanelOutputs]) << 16);
    std::vector<float> filled(static_cast<size_t>(group), 0.0f);
    std::copy(x + begin, x + begin + size, filled.begin());
    std::vector<int8_t> quantised(static_cast<size_t>(group));
    const float x_scale = quantise_group(filled.data(), group, quantised.data());
    int32_t sum = 0;
    for (int64_t i = 0; i < size; ++i) {
      const auto integer = scale == 0.0f ? 0 : static_cast<int32_t>(std::nearbyint(w[begin + i] / scale));
      sum += integer * quantised[static_cast<size_t>(i)];
    }
    y = std::fma(static_cast<float>(sum) * x_scale, scale, y);
  }
  return y;
}

std::vector<float> reference(const PackedMatrix& matrix, const std::vector<float>& x, int64_t rows) {
  const auto weights = unpacked(matrix);
  std::vector<float> y;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t o = 0; o < matrix.outputs; ++o) {
      y.push_back(reference(matrix, weights, x.data() + r * matrix.inputs, o));
    }
  }
  return y;
}

double relative_error(const std::vector<float>& found, const std::vector<float>& expected) {
  double error = 0.0, square = 0.0;
  for (size_t i = 0; i < found.size(); ++i) {
    error += std::pow(static_cast<double>(found[i]) - static_cast<double>(expected[i]), 2);
    square += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(error / square);
}

TEST(PackedMatrix, Float32ComesBackAsItWas) {
  const auto weights = random_floats(45 * 70, 1);
  EXPECT_EQ(unpacked(packed(WeightFormat::float32, 45, 70, weights).matrix), weights);
}

TEST(PackedMatrix, WeightsComeBackWithinTheirFormatsStep) {
  constexpr double kErrors[] = {0.0, 2.0e-3, 8.0e-3, 0.09};  // relative, of normally distributed weights
  const auto weights = random_floats(96 * 256, 2, 0.02f);
  for (const auto format : kFormats) {
    const auto found = unpacked(packed(format, 96, 256, weights).matrix);
    EXPECT_LE(relative_error(found, weights), kErrors[static_cast<int>(format)]) << static_cast<int>(format);
  }
}

TEST(PackedMatrix, UnpackedWeightsPackToThemselves) {
  const auto weights = random_floats(40 * 100, 3, 0.02f);
  for (const auto format : {WeightFormat::bfloat16, WeightFormat::int8}) {
    const auto once = unpacked(packed(format, 40, 100, weights).matrix);
    const auto twice = unpacked(packed(format, 40, 100, once).matrix);
    EXPECT_LE(relative_error(twice, once), format == WeightFormat::int8 ? 4e-3 : 0.0);
  }
}

TEST(PackedMatrix, OneOutputIsARowOfTheWhole) {
  const auto weights = random_floats(70 * 90, 4);
  for (const auto format : kFormats) {
    const auto matrix = packed(format, 70, 90, weights);
    const auto whole = unpacked(matrix.matrix);
    std::vector<float> row(90);
    for (const int64_t output : {0, 31, 32, 69}) {
      unpack_output(matrix.matrix, output, row.data());
      EXPECT_EQ(row, std::vector<float>(whole.begin() + output * 90, whole.begin() + (output + 1) * 90));
    }
  }
}

TEST(PackedMatrix, ZeroAndTinyWeightsStayFinite) {
  for (const float value : {0.0f, 1e-41f, 1e-38f, -1e-20f}) {
    const std::vector<float> weights(32 * 64, value);
    for (const auto format : kFormats) {
      for (const float weight : unpacked(packed(format, 32, 64, weights).matrix)) {
        EXPECT_NEAR(weight, value, std::abs(value) * 0.01f + 1e-38f);
      }
    }
  }
}

TEST(PackedMatrix, ProductsAreOneAscendingChainOfSums) {
  for (const int64_t set : fused_instruction_sets()) {
    const OnInstructionSet on(set);
    for (const auto format : kFormats) {
      for (const auto& [outputs, inputs] :
           {std::pair<int64_t, int64_t>{1, 1}, {31, 33}, {32, 64}, {70, 300}, {64, 1100}}) {
        const auto matrix = packed(format, outputs, inputs, random_floats(outputs * inputs, 5, 0.1f));
        const int64_t rows = 5;
        const auto x = random_floats(rows * inputs, 6);
        EXPECT_EQ(relative_error(product(matrix.matrix, x, rows), reference(matrix.matrix, x, rows)), 0.0)
            << hwy::TargetName(set) << " format " << static_cast<int>(format) << " " << outputs << " x " << inputs;
      }
    }
  }
}

TEST(PackedMatrix, ProductsWithoutFusedMultiplyAddAgreeToRounding) {
  const OnInstructionSet on(HWY_SCALAR);
  for (const auto format : kFormats) {
    const auto matrix = packed(format, 70, 300, random_floats(70 * 300, 5, 0.1f));
    const auto x = random_floats(7 * 300, 6);
    EXPECT_LE(relative_error(product(matrix.matrix, x, 7), reference(matrix.matrix, x, 7)), 1e-6);
  }
}

TEST(PackedMatrix, ARowDependsNeitherOnOthersNorOnThreads) {
  constexpr int64_t kOutputs = 330, kInputs = 1100, kRows = 131;
  const auto weights = random_floats(kOutputs * kInputs, 7, 0.05f);
  const auto x = random_floats(kRows * kInputs, 8);
  for (const int64_t set : fused_instruction_sets()) {
    const OnInstructionSet on(set);
    for (const auto format : kFormats) {
      const auto matrix = packed(format, kOutputs, kInputs, weights);
      const auto whole = product(matrix.matrix, x, kRows, 3);
      for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 24, 25, 37, 100}) {
        const int64_t first = kRows - rows - 1;
        const std::vector<float> some(x.begin() + first * kInputs, x.begin() + (first + rows) * kInputs);
        const auto found = product(matrix.matrix, some, rows, 1 + static_cast<int>(rows % 4));
        EXPECT_TRUE(std::equal(found.begin(), found.end(), whole.begin() + first * kOutputs))
            << hwy::TargetName(set) << " format " << static_cast<int>(format) << " rows " << rows;
      }
    }
  }
}

TEST(PackedMatrix, InstructionSetsAgreeBitForBit) {
  const auto weights = random_floats(200 * 700, 9, 0.05f);
  const auto x = random_floats(17 * 700, 10, 3.0f);
  for (const auto format : kFormats) {
    const auto matrix = packed(format, 200, 700, weights);
    std::vector<std::vector<float>> found;
    for (const int64_t set : fused_instruction_sets()) {
      const OnInstructionSet on(set);
      found.push_back(product(matrix.matrix, x, 17));
    }
    for (const auto& y : found) EXPECT_EQ(y, found[0]);
  }
}

TEST(PackedMatrix, QuantisedProductsStayCloseToExactOnes) {
  const auto weights = random_floats(64 * 512, 11, 0.02f);
  const auto x = random_floats(16 * 512, 12);
  const auto exact = product(packed(WeightFormat::float32, 64, 512, weights).matrix, x, 16);
  EXPECT_LE(relative_error(product(packed(WeightFormat::int8, 64, 512, weights).matrix, x, 16), exact), 0.012);
  EXPECT_LE(relative_error(product(packed(WeightFormat::int4, 64, 512, weights).matrix, x, 16), exact), 0.1);
}

TEST(PackedMatrix, ExtremeIntegersDoNotOverflow) {
  std::vector<float> weights(32 * 4096), x(4096);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = i / 4096 % 2 == 0 ? 1.0f : -1.0f;
  std::fill(x.begin(), x.end(), -1.0f);
  for (const int64_t set : instruction_sets()) {
    const OnInstructionSet on(set);
    for (const auto format : kFormats) {
      const auto y = product(packed(format, 32, 4096, weights).matrix, x, 1);
      EXPECT_NEAR(y[0], -4096.0f, 41.0f);  // int8's scale 1/127 is a bfloat16
      EXPECT_NEAR(y[1], 4096.0f, 41.0f);
    }
  }
}

TEST(QuantiseGroup, RoundsToTheNearestOf127Steps) {
  const auto x = random_floats(64, 13, 10.0f);
  std::vector<int8_t> quantised(64);
  for (const int64_t set : instruction_sets()) {
    const OnInstructionSet on(set);
    const float scale = quantise_group(x.data(), 64, quantised.data());
    for (size_t i = 0; i < 64; ++i) EXPECT_NEAR(static_cast<float>(quantised[i]) * scale, x[i], 0.501f * scale);
    EXPECT_EQ(std::abs(*std::max_element(quantised.begin(), quantised.end(),
                                         [](int a, int b) { return std::abs(a) < std::abs(b); })),
              127);
  }
}

TEST(QuantiseGroup, TellsBrokenAndEmptyGroups) {
  std::vector<int8_t> quantised(64, 1);
  for (const int64_t set : instruction_sets()) {
    const OnInstructionSet on(set);
    std::vector<float> x(64, 0.0f);
    EXPECT_EQ(quantise_group(x.data(), 64, quantised.data()), 0.0f);
    x[5] = 1e-38f;
    EXPECT_EQ(quantise_group(x.data(), 64, quantised.data()), 0.0f);
    EXPECT_EQ(quantised, std::vector<int8_t>(64, 0));
    for (const float broken : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      for (const size_t at : {size_t{0}, size_t{37}, size_t{63}}) {
        std::vector<float> y(64, 1.0f);
        y[at] = broken;
        EXPECT_TRUE(std::isnan(quantise_group(y.data(), 64, quantised.data())));
      }
    }
  }
}

TEST(PackedMatrix, NotANumberInAnActivationReachesItsRowOnly) {
  auto x = random_floats(3 * 128, 14);
  x[128 + 100] = std::numeric_limits<float>::quiet_NaN();
  for (const auto format : kFormats) {
    const auto y = product(packed(format, 33, 128, random_floats(33 * 128, 15)).matrix, x, 3);
    for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 33 == 1);
  }
}

TEST(PackedMatrix, NoRowsAreNoWork) {
  const auto matrix = packed(WeightFormat::int8, 32, 64, random_floats(32 * 64, 16));
  EXPECT_TRUE(product(matrix.matrix, {}, 0).empty());
}

}  // namespace
}  // namespace dlcm
