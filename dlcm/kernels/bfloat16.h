// bfloat16: the upper half of a float.
#pragma once

#include <bit>
#include <cstdint>

namespace dlcm {

// Rounded to the nearest, ties to even; NaN stays NaN.
inline uint16_t to_bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

// A number of a panel (packed_matrix.h) whose two halves lie in turn: output i at 2 i, output i + 16 at 2 i + 1.
struct InterleavedBfloat16 {
  uint16_t bits;
};

inline float from_bfloat16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

}  // namespace dlcm
