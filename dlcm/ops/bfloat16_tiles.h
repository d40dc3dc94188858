// Matrix products of bfloat16 factors with float sums, on one thread: AMX where the CPU has it, else the dot products
// of AVX-512; and the layouts in which they read their factors.
#pragma once

#include <cstdint>

namespace dlcm {

enum class BFloat16Unit { none, avx512, amx };

// The best that this CPU has.
BFloat16Unit bfloat16_unit();

// The sizes that products come in: tiles of 16 rows and columns, depths of 32. A bfloat16 is the upper half of a float.
inline constexpr int64_t kBFloat16Tile = 16;
inline constexpr int64_t kBFloat16Depth = 32;

// C [rows, columns] = A [rows, depth] B [depth, columns], or C += A B.
struct BFloat16Product {
  int64_t rows, columns, depth;  // multiples of 16, 16 and 32
  const uint16_t* a;             // A(i, k) = a[i * a_row + k]
  int64_t a_row;
  const uint16_t* b;  // B(k, j) = b[j / 16 * b_panel + k / 2 * 32 + j % 16 * 2 + k % 2]: pairs along the depth
  int64_t b_panel;
  float* c;  // C(i, j) = c[i * c_row + j]
  int64_t c_row;
  bool accumulate;
};

// While it lives, this thread's tile registers are its own: no other product in bfloat16 may run on the thread.
class BFloat16Multiplier {
 public:
  // `unit` must be one that the CPU has.
  explicit BFloat16Multiplier(BFloat16Unit unit);
  ~BFloat16Multiplier();
  BFloat16Multiplier(const BFloat16Multiplier&) = delete;
  BFloat16Multiplier& operator=(const BFloat16Multiplier&) = delete;

  void operator()(const BFloat16Product& product) const;

 private:
  BFloat16Unit unit_;
};

// Where there is any unit: rounds `columns` floats (a multiple of 32) of one row ...
void round_row(const float* row, int64_t columns, uint16_t* rounded);
// ... and of two rows k and k + 1 of a factor B into their places: `pairs` is where B(k, 0) stands.
void round_pair(const float* row, const float* next_row, int64_t columns, uint16_t* pairs, int64_t b_panel);

}  // namespace dlcm
