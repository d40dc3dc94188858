#include "dlcm/kernels/packed_matrix.h"

#include "dlcm/kernels/bfloat16.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

namespace dlcm {
namespace {

constexpr int64_t kInt8Group = 64, kInt4Group = 32;
constexpr int64_t kQuad = 4;  // inputs whose weights of one output lie side by side
constexpr int64_t kScaleBytes = kPanelOutputs * static_cast<int64_t>(sizeof(uint16_t));

// A scale, and one integer for each input of a group.
struct QuantisedGroup {
  uint16_t scale = 0;  // bfloat16
  std::array<float, kInt8Group> integers{};
};

// What the compiler turns into vectors: sums have 16 parts whatever the vectors' size, so that every machine packs
// alike.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define DLCM_PER_INSTRUCTION_SET __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define DLCM_PER_INSTRUCTION_SET
#endif
constexpr int kParts = 16;

float sum_of(const float (&parts)[kParts]) {
  float sum = 0.0f;
  for (const float part : parts) sum += part;
  return sum;
}

// integers = weights / scale, rounded to the nearest in [low, high].
struct Rounding {
  float error;            // sum of (weight - scale * integer)^2
  float product, square;  // sums of weight * integer and of integer^2
};

DLCM_PER_INSTRUCTION_SET Rounding round_group(const float* weights, int64_t size, float scale, float low, float high,
                                              float* integers) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: added, it leaves no room for a fraction
  float error[kParts] = {}, product[kParts] = {}, square[kParts] = {};
  for (int64_t begin = 0; begin < size; begin += kParts) {
#pragma omp simd
    for (int i = 0; i < kParts; ++i) {
      const float weight = weights[begin + i];
      const float steps = weight / scale;
      const float bounded = steps < low ? low : (steps > high ? high : steps);
      const float integer = (bounded + kShift) - kShift;
      const float difference = weight - scale * integer;
      integers[begin + i] = integer;
      error[i] += difference * difference;
      product[i] += weight * integer;
      square[i] += integer * integer;
    }
  }
  return {sum_of(error), sum_of(product), sum_of(square)};
}

// The weight of largest magnitude.
float extreme_of(const float* weights, int64_t size) {
  float extreme = 0.0f;
  for (int64_t i = 0; i < size; ++i) {
    if (std::abs(weights[i]) > std::abs(extreme)) extreme = weights[i];
  }
  return extreme;
}

QuantisedGroup quantise_int8(const float* weights) {
  QuantisedGroup group;
  group.scale = to_bfloat16(std::abs(extreme_of(weights, kInt8Group)) / 127.0f);
  const float scale = from_bfloat16(group.scale);
  if (scale != 0.0f) round_group(weights, kInt8Group, scale, -127.0f, 127.0f, group.integers.data());
  return group;
}

// Integers in [-8, 7]: the weight of largest magnitude is -8 times a scale of either sign, or less than that where
// the others gain more than it loses. Each scale tried is refined once to the best one for its integers.
QuantisedGroup quantise_int4(const float* weights) {
  constexpr std::array kSteps{-8.0f, -8.6f, -7.4f, -7.0f, -6.6f, -8.3f, -7.7f, 7.0f, 7.4f};
  const float extreme = extreme_of(weights, kInt4Group);
  QuantisedGroup best, tried;
  float least_error = std::numeric_limits<float>::infinity();
  const auto try_scale = [&](float wanted) {
    tried.scale = to_bfloat16(wanted);
    const float scale = from_bfloat16(tried.scale);
    if (scale == 0.0f) return 0.0f;
    const auto [error, product, square] = round_group(weights, kInt4Group, scale, -8.0f, 7.0f, tried.integers.data());
    if (error < least_error) {
      least_error = error;
      best = tried;
    }
    return square == 0.0f ? 0.0f : product / square;
  };
  for (const float steps : kSteps) try_scale(try_scale(extreme / steps));
  return best;
}

// One panel's outputs, of which `present` exist; row o of weights at weights + o * inputs.
template <typename Store>
void pack_floats(int64_t present, int64_t inputs, const float* weights, std::byte* panel, const Store& store) {
  using Stored = decltype(store(0.0f));
  for (int64_t i = 0; i < inputs; ++i) {
    for (int64_t o = 0; o < kPanelOutputs; ++o) {
      const Stored stored = store(o < present ? weights[o * inputs + i] : 0.0f);
      std::memcpy(panel + static_cast<size_t>(i * kPanelOutputs + o) * sizeof(Stored), &stored, sizeof(Stored));
    }
  }
}

void pack_groups(WeightFormat format, int64_t present, int64_t inputs, const float* weights, std::byte* panel) {
  const bool int4 = format == WeightFormat::int4;
  const int64_t size = group_inputs(format);
  for (int64_t begin = 0; begin < inputs; begin += size, panel += panel_bytes(format, size)) {
    std::byte* quads = panel + kScaleBytes;
    for (int64_t o = 0; o < kPanelOutputs; ++o) {
      std::array<float, kInt8Group> group{};
      if (o < present) {
        const float* from = weights + o * inputs + begin;
        std::copy(from, from + std::min(size, inputs - begin), group.begin());
      }
      const auto quantised = int4 ? quantise_int4(group.data()) : quantise_int8(group.data());
      std::memcpy(panel + o * static_cast<int64_t>(sizeof(uint16_t)), &quantised.scale, sizeof(uint16_t));
      for (int64_t i = 0; i < size; ++i) {
        const int integer = static_cast<int>(quantised.integers[static_cast<size_t>(i)]);
        const int64_t quad = i / kQuad, in_quad = i % kQuad;
        if (int4) {
          std::byte& both = quads[(quad / 2 * kPanelOutputs + o) * kQuad + in_quad];
          const auto bits = static_cast<std::byte>(integer + 8);
          both = quad % 2 == 0 ? bits : both | bits << 4;
        } else {
          quads[(quad * kPanelOutputs + o) * kQuad + in_quad] = static_cast<std::byte>(integer + 128);
        }
      }
    }
  }
}

}  // namespace

int64_t group_inputs(WeightFormat format) {
  switch (format) {
    case WeightFormat::int8:
      return kInt8Group;
    case WeightFormat::int4:
      return kInt4Group;
    default:
      return 1;
  }
}

size_t panel_bytes(WeightFormat format, int64_t inputs) {
  const auto groups = static_cast<size_t>((inputs + group_inputs(format) - 1) / group_inputs(format));
  constexpr auto kOutputs = static_cast<size_t>(kPanelOutputs);
  switch (format) {
    case WeightFormat::float32:
      return groups * kOutputs * sizeof(float);
    case WeightFormat::bfloat16:
      return groups * kOutputs * sizeof(uint16_t);
    case WeightFormat::int8:
      return groups * (kScaleBytes + kOutputs * kInt8Group);
    case WeightFormat::int4:
      return groups * (kScaleBytes + kOutputs * kInt4Group / 2);
  }
  return 0;
}

size_t packed_bytes(WeightFormat format, int64_t outputs, int64_t inputs) {
  return static_cast<size_t>((outputs + kPanelOutputs - 1) / kPanelOutputs) * panel_bytes(format, inputs);
}

void pack(ThreadPool& threads, WeightFormat format, int64_t outputs, int64_t inputs, const float* weights_OI,
          std::byte* destination) {
  threads.run((outputs + kPanelOutputs - 1) / kPanelOutputs, [=](int64_t panel) {
    const int64_t first = panel * kPanelOutputs, present = std::min(kPanelOutputs, outputs - first);
    const float* weights = weights_OI + first * inputs;
    std::byte* to = destination + static_cast<size_t>(panel) * panel_bytes(format, inputs);
    switch (format) {
      case WeightFormat::float32:
        return pack_floats(present, inputs, weights, to, [](float weight) { return weight; });
      case WeightFormat::bfloat16:
        return pack_floats(present, inputs, weights, to, [](float weight) { return to_bfloat16(weight); });
      default:
        return pack_groups(format, present, inputs, weights, to);
    }
  });
}

void unpack_output(const PackedMatrix& matrix, int64_t output, float* weights_I) {
  const auto [format, outputs, inputs, data] = matrix;
  const std::byte* panel = data + static_cast<size_t>(output / kPanelOutputs) * panel_bytes(format, inputs);
  const int64_t o = output % kPanelOutputs;
  const auto load = [&]<typename Stored>(Stored, int64_t i) {
    Stored stored;
    std::memcpy(&stored, panel + static_cast<size_t>(i * kPanelOutputs + o) * sizeof(Stored), sizeof(Stored));
    return stored;
  };
  if (format == WeightFormat::float32) {
    for (int64_t i = 0; i < inputs; ++i) weights_I[i] = load(float{}, i);
    return;
  }
  if (format == WeightFormat::bfloat16) {
    for (int64_t i = 0; i < inputs; ++i) weights_I[i] = from_bfloat16(load(uint16_t{}, i));
    return;
  }
  const int64_t size = group_inputs(format);
  for (int64_t begin = 0; begin < inputs; begin += size, panel += panel_bytes(format, size)) {
    const float scale = from_bfloat16(load(uint16_t{}, 0));
    const std::byte* quads = panel + kScaleBytes;
    for (int64_t i = 0; i < std::min(size, inputs - begin); ++i) {
      const int64_t quad = i / kQuad, in_quad = i % kQuad;
      int integer = 0;
      if (format == WeightFormat::int4) {
        const int both = std::to_integer<int>(quads[(quad / 2 * kPanelOutputs + o) * kQuad + in_quad]);
        integer = (quad % 2 == 0 ? both & 15 : both >> 4) - 8;
      } else {
        integer = std::to_integer<int>(quads[(quad * kPanelOutputs + o) * kQuad + in_quad]) - 128;
      }
      weights_I[begin + i] = scale * static_cast<float>(integer);
    }
  }
}

void unpack(const PackedMatrix& matrix, float* weights_OI) {
  for (int64_t output = 0; output < matrix.outputs; ++output) {
    unpack_output(matrix, output, weights_OI + output * matrix.inputs);
  }
}

}  // namespace dlcm
