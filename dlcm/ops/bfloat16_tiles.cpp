#include "dlcm/ops/bfloat16_tiles.h"

#include <ATen/cpu/Utils.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace dlcm {

#if defined(__x86_64__)

#define DLCM_AVX512 __attribute__((target("avx512f,avx512bw,avx512bf16")))
#define DLCM_AMX __attribute__((target("amx-tile,amx-bf16")))

namespace {

bool cpu_has_amx_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kBf16) != 0 && (d & kTile) != 0;
}

BFloat16Unit find_unit() {
  if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512bw")) return BFloat16Unit::none;
  // The system hands out tile registers on request only.
  return cpu_has_amx_bf16() && at::cpu::init_amx() ? BFloat16Unit::amx : BFloat16Unit::avx512;
}

// All eight tile registers at their full size: 16 rows of 64 bytes.
struct alignas(64) TileSizes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_of_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Up to 2 x 2 tiles of C at (i, j): registers 0 to 3 are C, 4 and 5 rows of A, 6 and 7 columns of B.
template <bool kTwoRows, bool kTwoColumns>
DLCM_AMX inline void amx_tiles(const BFloat16Product& product, int64_t i, int64_t j) {
  const auto *a = product.a + i * product.a_row, *b = product.b + j / kBFloat16Tile * product.b_panel;
  const auto *a_below = a + kBFloat16Tile * product.a_row, *b_right = b + product.b_panel;
  float *c = product.c + i * product.c_row + j, *c_below = c + kBFloat16Tile * product.c_row;
  const int64_t a_bytes = 2 * product.a_row, c_bytes = 4 * product.c_row;
  if (product.accumulate) {
    _tile_loadd(0, c, c_bytes);
    if constexpr (kTwoColumns) _tile_loadd(1, c + kBFloat16Tile, c_bytes);
    if constexpr (kTwoRows) _tile_loadd(2, c_below, c_bytes);
    if constexpr (kTwoRows && kTwoColumns) _tile_loadd(3, c_below + kBFloat16Tile, c_bytes);
  } else {
    _tile_zero(0);
    if constexpr (kTwoColumns) _tile_zero(1);
    if constexpr (kTwoRows) _tile_zero(2);
    if constexpr (kTwoRows && kTwoColumns) _tile_zero(3);
  }
  for (int64_t k = 0; k < product.depth; k += kBFloat16Depth) {
    _tile_loadd(4, a + k, a_bytes);
    _tile_loadd(6, b + k * kBFloat16Tile, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTwoColumns) {
      _tile_loadd(7, b_right + k * kBFloat16Tile, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kTwoRows) {
      _tile_loadd(5, a_below + k, a_bytes);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kTwoColumns) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, c_bytes);
  if constexpr (kTwoColumns) _tile_stored(1, c + kBFloat16Tile, c_bytes);
  if constexpr (kTwoRows) _tile_stored(2, c_below, c_bytes);
  if constexpr (kTwoRows && kTwoColumns) _tile_stored(3, c_below + kBFloat16Tile, c_bytes);
}

DLCM_AMX __attribute__((noinline)) void multiply_amx(const BFloat16Product& product) {
  asm volatile("" ::: "memory");  // the tile loads do not say that they read memory
  constexpr int64_t kTwo = 2 * kBFloat16Tile;
  for (int64_t i = 0; i < product.rows; i += kTwo) {
    const bool two_rows = i + kTwo <= product.rows;
    for (int64_t j = 0; j < product.columns; j += kTwo) {
      const bool two_columns = j + kTwo <= product.columns;
      if (two_rows && two_columns) {
        amx_tiles<true, true>(product, i, j);
      } else if (two_rows) {
        amx_tiles<true, false>(product, i, j);
      } else if (two_columns) {
        amx_tiles<false, true>(product, i, j);
      } else {
        amx_tiles<false, false>(product, i, j);
      }
    }
  }
}

// Eight rows of C against one or two panels of B.
template <int kPanels>
DLCM_AVX512 inline void avx512_rows(const BFloat16Product& product, int64_t i, int64_t j) {
  constexpr int kRows = 8;
  __m512 sums[kRows][kPanels];
  float* c = product.c + i * product.c_row + j;
  for (int row = 0; row < kRows; ++row) {
    for (int panel = 0; panel < kPanels; ++panel) {
      sums[row][panel] =
          product.accumulate ? _mm512_loadu_ps(c + row * product.c_row + panel * kBFloat16Tile) : _mm512_setzero_ps();
    }
  }
  const uint16_t* b = product.b + j / kBFloat16Tile * product.b_panel;
  for (int64_t k = 0; k < product.depth; k += 2) {
    __m512bh columns[kPanels];
    for (int panel = 0; panel < kPanels; ++panel) {
      columns[panel] = (__m512bh)_mm512_loadu_si512(b + panel * product.b_panel + k * kBFloat16Tile);
    }
    for (int row = 0; row < kRows; ++row) {
      int32_t pair;
      __builtin_memcpy(&pair, product.a + (i + row) * product.a_row + k, sizeof(pair));
      const auto both = (__m512bh)_mm512_set1_epi32(pair);
      for (int panel = 0; panel < kPanels; ++panel) {
        sums[row][panel] = _mm512_dpbf16_ps(sums[row][panel], both, columns[panel]);
      }
    }
  }
  for (int row = 0; row < kRows; ++row) {
    for (int panel = 0; panel < kPanels; ++panel) {
      _mm512_storeu_ps(c + row * product.c_row + panel * kBFloat16Tile, sums[row][panel]);
    }
  }
}

DLCM_AVX512 void multiply_avx512(const BFloat16Product& product) {
  for (int64_t i = 0; i < product.rows; i += 8) {
    int64_t j = 0;
    for (; j + 2 * kBFloat16Tile <= product.columns; j += 2 * kBFloat16Tile) avx512_rows<2>(product, i, j);
    if (j < product.columns) avx512_rows<1>(product, i, j);
  }
}

DLCM_AMX void load_tile_sizes() {
  const TileSizes sizes;
  asm volatile("" ::: "memory");
  _tile_loadconfig(&sizes);
}

DLCM_AMX void release_tiles() { _tile_release(); }

}  // namespace

BFloat16Unit bfloat16_unit() {
  static const BFloat16Unit unit = find_unit();
  return unit;
}

BFloat16Multiplier::BFloat16Multiplier(BFloat16Unit unit) : unit_(unit) {
  if (unit_ == BFloat16Unit::amx) load_tile_sizes();
}
BFloat16Multiplier::~BFloat16Multiplier() {
  if (unit_ == BFloat16Unit::amx) release_tiles();
}
void BFloat16Multiplier::operator()(const BFloat16Product& product) const {
  unit_ == BFloat16Unit::amx ? multiply_amx(product) : multiply_avx512(product);
}

DLCM_AVX512 void round_row(const float* row, int64_t columns, uint16_t* rounded) {
  for (int64_t j = 0; j < columns; j += 32) {
    const auto both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(row + j + 16), _mm512_loadu_ps(row + j));
    _mm512_storeu_si512(rounded + j, (__m512i)both);
  }
}

DLCM_AVX512 void round_pair(const float* row, const float* next_row, int64_t columns, uint16_t* pairs,
                            int64_t b_panel) {
  alignas(64) static constexpr uint16_t kInterleaved[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                            21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                            11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const auto interleaved = _mm512_load_si512(kInterleaved);
  for (int64_t j = 0; j < columns; j += kBFloat16Tile) {
    const auto both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(next_row + j), _mm512_loadu_ps(row + j));
    _mm512_storeu_si512(pairs + j / kBFloat16Tile * b_panel, _mm512_permutexvar_epi16(interleaved, (__m512i)both));
  }
}

#else

BFloat16Unit bfloat16_unit() { return BFloat16Unit::none; }
BFloat16Multiplier::BFloat16Multiplier(BFloat16Unit unit) : unit_(unit) {}
BFloat16Multiplier::~BFloat16Multiplier() = default;
void BFloat16Multiplier::operator()(const BFloat16Product&) const {}
void round_row(const float*, int64_t, uint16_t*) {}
void round_pair(const float*, const float*, int64_t, uint16_t*, int64_t) {}

#endif

}  // namespace dlcm
