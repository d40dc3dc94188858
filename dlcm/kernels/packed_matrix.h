// Weight matrices as the inference engine reads them: rounded to a format and laid out in panels of 32 outputs, so that
// the lanes of a vector are different outputs and one product walks through memory in order. A file can hold the bytes
// as they are.
//
//   float32, bfloat16   panel [inputs][32]
//   int8                panel [groups of 64 inputs] { scale bfloat16 [32]; weight + 128 uint8 [16][32][4] }
//   int4                panel [groups of 32 inputs] { scale bfloat16 [32]; [4][32][4] bytes of two weights + 8 }
//
// A quantised weight is scale * integer. Missing outputs of the last panel and missing inputs of the last group are 0.
#pragma once

#include "dlcm/kernels/thread_pool.h"

#include <cstddef>
#include <cstdint>

namespace dlcm {

enum class WeightFormat { float32, bfloat16, int8, int4 };

inline constexpr int64_t kPanelOutputs = 32;
inline constexpr int64_t kPackedAlignment = 64;  // bytes

// A view of packed bytes, aligned to kPackedAlignment.
struct PackedMatrix {
  WeightFormat format;
  int64_t outputs, inputs;
  const std::byte* data;
};

// Inputs that share a scale; 1 where the format has none.
int64_t group_inputs(WeightFormat format);

// Bytes of `inputs` inputs of one panel, and of a whole matrix.
size_t panel_bytes(WeightFormat format, int64_t inputs);
size_t packed_bytes(WeightFormat format, int64_t outputs, int64_t inputs);

// Rounds weights [outputs, inputs] and writes packed_bytes() bytes. int8: the largest weight of a group is 127 (or
// -127) steps; int4: of the scales tried, the one with the least squared error.
void pack(ThreadPool& threads, WeightFormat format, int64_t outputs, int64_t inputs, const float* weights_OI,
          std::byte* destination);

// The weights that products are made with: all [outputs, inputs], or one output's [inputs].
void unpack(const PackedMatrix& matrix, float* weights_OI);
void unpack_output(const PackedMatrix& matrix, int64_t output, float* weights_I);

// y = x W^T for x [rows, inputs], y [rows, outputs]. Each element of y is one ascending chain of sums over the inputs,
// whatever the number of rows and threads:
//   float32, bfloat16   y = fma(x_i, w_oi, y) from y = 0
//   int8, int4          x is rounded to integers, a scale for each row and group (quantise_group); the products of a
//                       group add up exactly to an integer s, y = fma(s * x_scale, w_scale, y)
// The same bits on AVX2, AVX-512 and AVX-512-VNNI; CPUs without fused multiply-add round twice.
void multiply(ThreadPool& threads, const PackedMatrix& matrix, const float* x_RI, int64_t rows, float* y_RO);

// Rounds a group of activations to integers in [-127, 127]: quantised = round(x * (127 / max |x|)), to even. Returns
// the scale max |x| / 127; 0 (and all 0) below the range of normal numbers, NaN where x has a NaN or an infinity.
float quantise_group(const float* x, int64_t size, int8_t* quantised);

}  // namespace dlcm
