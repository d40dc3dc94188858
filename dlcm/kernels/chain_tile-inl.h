// Included once per instruction set (Highway): the tile that products and attention have in common.
#if defined(DLCM_CHAIN_TILE_TOGGLE) == defined(HWY_TARGET_TOGGLE)
#ifdef DLCM_CHAIN_TILE_TOGGLE
#undef DLCM_CHAIN_TILE_TOGGLE
#else
#define DLCM_CHAIN_TILE_TOGGLE
#endif

#include "dlcm/kernels/bfloat16.h"
#include "dlcm/kernels/packed_matrix.h"

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace dlcm {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Float = hn::ScalableTag<float>;
using FloatVector = hn::Vec<Float>;
constexpr int64_t kLanes = HWY_LANES(float);

// Sums of kMostRows x vectors_of(kMostRows) vectors live in registers: 24 of 32 with AVX-512, 12 of 16 elsewhere.
constexpr bool kWide = HWY_TARGET <= HWY_AVX3;
constexpr int kMostRows = kWide ? 12 : 6;

// Vectors of a panel's outputs that `rows` rows take at once: all where they fit.
constexpr int vectors_of(int rows) {
  const int panel = static_cast<int>(kPanelOutputs / kLanes);
  return panel <= 4 && panel * rows <= (kWide ? 24 : 12) ? panel : 2;
}

// Panels that `rows` rows take at once, at most: memory gives more where a thread reads several places in turn.
constexpr int panels_of(int rows) {
  const int panel = static_cast<int>(kPanelOutputs / kLanes) * rows, sums = kWide ? 24 : 12;
  return panel <= 4 * rows && 4 * panel <= sums ? 4 : panel <= 4 * rows && 2 * panel <= sums ? 2 : 1;
}

HWY_INLINE FloatVector load_floats(const float* from) { return hn::LoadU(Float(), from); }
// From bfloat16.
HWY_INLINE FloatVector load_floats(const uint16_t* from) {
  const hn::Rebind<uint16_t, Float> half;
  const hn::RebindToUnsigned<Float> bits;
  return hn::BitCast(Float(), hn::ShiftLeft<16>(hn::PromoteTo(bits, hn::LoadU(half, from))));
}

// Vector `index` of a panel's row.
template <typename Weight>
HWY_INLINE FloatVector load_vector(const Weight* row, int64_t index) {
  return load_floats(row + index * kLanes);
}
// One instruction a vector after the load, where bfloat16 in their own order take two.
HWY_INLINE FloatVector load_vector(const InterleavedBfloat16* row, int64_t index) {
  constexpr int64_t kHalf = kPanelOutputs / 2 / kLanes;
  const hn::RebindToUnsigned<Float> bits;
  const auto pairs = hn::LoadU(bits, reinterpret_cast<const uint32_t*>(row) + index % kHalf * kLanes);
  return hn::BitCast(Float(), index < kHalf ? hn::ShiftLeft<16>(pairs) : hn::And(pairs, hn::Set(bits, 0xFFFF0000u)));
}

// Memory is asked for ahead of the CPU's own prefetching, which stops at each page's end.
enum class PrefetchTo { first_cache, second_cache };
template <PrefetchTo cache = PrefetchTo::first_cache>
HWY_INLINE void prefetch(const std::byte* from, int64_t bytes) {
  constexpr int64_t kLine = 64;
  for (int64_t i = 0; i < bytes; i += kLine) {
    __builtin_prefetch(from + i, 0, cache == PrefetchTo::first_cache ? 3 : 2);
  }
}

// Weights of some panels, [inputs][32] each, `step` numbers apart.
template <typename Weight>
struct Panels {
  const Weight* first;
  int64_t step;
};

// Prefetches what lies some bytes behind the row that is read.
struct FurtherOn {
  int64_t distance;

  template <int panels>
  HWY_INLINE void prefetch_row(const std::byte* read, int64_t, int64_t, int64_t bytes) const {
    prefetch(read + distance, bytes);
  }
};

// Prefetches into the second cache, row after row, what is read after these weights, a row for every second one that is
// read: two tiles that read the same weights ask for all of it.
struct NextStretch {
  const std::byte* next;

  template <int panels>
  HWY_INLINE void prefetch_row(const std::byte*, int64_t input, int64_t, int64_t bytes) const {
    if (input % 2 == 0) prefetch<PrefetchTo::second_cache>(next + input / 2 * bytes, bytes);
  }
};

// y(r, o) = fma(x(r, i), w(i, o), y(r, o)) for ascending i, o in the panels: x(r, i) = x[r * x_row + i * x_input],
// y(r, o) = y[r * y_row + o], which begins with 0 or with what is there.
// While row i of panel p is read, ahead.prefetch_row<panels>(row, i, p, bytes of a row) asks for as much of what comes
// later. later.
template <int rows, int panels, int64_t x_row, int64_t x_input, typename Weight, typename Ahead>
HWY_INLINE void chain_tile(const float* x_begin, const Panels<Weight>& weights, const Ahead& ahead, int64_t inputs,
                           float* y_begin, int64_t y_row, bool continues) {
  constexpr int in_panel = vectors_of(rows), vectors = panels * in_panel;
  static_assert(panels == 1 || in_panel * kLanes == kPanelOutputs);
  constexpr int64_t kRowBytes = kPanelOutputs * static_cast<int64_t>(sizeof(Weight));
  const Float d;
  for (int64_t part = 0; part < kPanelOutputs; part += in_panel * kLanes) {
    const float* HWY_RESTRICT x = x_begin;
    const Weight* HWY_RESTRICT w = weights.first;
    const int64_t first_vector = part / kLanes;
    float* HWY_RESTRICT y = y_begin + part;
    FloatVector sum[rows][vectors];
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < vectors; ++j) {
        sum[r][j] = continues ? hn::LoadU(d, y + r * y_row + j * kLanes) : hn::Zero(d);
      }
    }
    for (int64_t i = 0; i < inputs; ++i, x += x_input, w += kPanelOutputs) {
      FloatVector weight[vectors];
#pragma GCC unroll 8
      for (int p = 0; p < panels; ++p) {
        ahead.template prefetch_row<panels>(reinterpret_cast<const std::byte*>(w + p * weights.step), i, p, kRowBytes);
#pragma GCC unroll 4
        for (int j = 0; j < in_panel; ++j) {
          weight[p * in_panel + j] = load_vector(w + p * weights.step, first_vector + j);
        }
      }
#pragma GCC unroll 12
      for (int r = 0; r < rows; ++r) {
        const auto activation = hn::Set(d, x[r * x_row]);
#pragma GCC unroll 8
        for (int j = 0; j < vectors; ++j) sum[r][j] = hn::MulAdd(activation, weight[j], sum[r][j]);
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < vectors; ++j) hn::StoreU(sum[r][j], d, y + r * y_row + j * kLanes);
    }
  }
}

// exp of numbers below 88 by 2^n * polynomial(r), |r| <= ln2/2: relative error below 3e-7, exact 0 below the range of
// normal floats, exactly 1 at 0. NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exponential(D d, V x) {
  const hn::RebindToSigned<D> integers;
  const auto shift = hn::Set(d, 12582912.0f);  // 1.5 * 2^23: added, it leaves round(x / ln2) in the low bits
  const auto shifted = hn::MulAdd(x, hn::Set(d, 1.44269504088896341f), shift);
  const auto n = hn::Sub(shifted, shift);
  auto r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);
  r = hn::MulAdd(n, hn::Set(d, 2.12194440e-4f), r);
  auto polynomial = hn::Set(d, 1.9875691500e-4f);
  polynomial = hn::MulAdd(polynomial, r, hn::Set(d, 1.3981999507e-3f));
  polynomial = hn::MulAdd(polynomial, r, hn::Set(d, 8.3334519073e-3f));
  polynomial = hn::MulAdd(polynomial, r, hn::Set(d, 4.1665795894e-2f));
  polynomial = hn::MulAdd(polynomial, r, hn::Set(d, 1.6666665459e-1f));
  polynomial = hn::MulAdd(polynomial, r, hn::Set(d, 5.0000001201e-1f));
  polynomial = hn::MulAdd(polynomial, r, hn::Set(d, 1.0f));
  polynomial = hn::MulAdd(polynomial, r, hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::Add(hn::BitCast(integers, shifted), hn::Set(integers, 127)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.33654f)), hn::Mul(polynomial, hn::BitCast(d, exponent)));
}

HWY_INLINE float exponential(float x) { return hn::GetLane(exponential(Float(), hn::Set(Float(), x))); }

// Sums have 16 parts whatever the vectors' size, so that all instruction sets add in one order.
constexpr int64_t kSumParts = 16;
HWY_INLINE float sum_of_parts(const float* parts) {
  float eight[8];
  for (int i = 0; i < 8; ++i) eight[i] = parts[i] + parts[i + 8];
  for (int i = 0; i < 4; ++i) eight[i] += eight[i + 4];
  return (eight[0] + eight[2]) + (eight[1] + eight[3]);
}

}  // namespace HWY_NAMESPACE
}  // namespace dlcm
HWY_AFTER_NAMESPACE();

#endif
