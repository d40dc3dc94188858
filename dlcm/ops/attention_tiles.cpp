// Compiled once per instruction set by Highway. Without the precompiled header: targets are set before any include.
#include "dlcm/ops/attention_tiles.h"

// Vectors of unknown size cannot lie in arrays.
#define HWY_DISABLED_TARGETS \
  (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_AVX3_DL | HWY_SSSE3 | HWY_SSE4)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "dlcm/ops/attention_tiles.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace dlcm {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Accumulators of kRows x kVectors live in registers: 24 of 32 with AVX-512 and NEON, 12 of 16 elsewhere.
constexpr int kRows = 6;
constexpr int kMostVectors = HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_NEON ? 4 : 2;

template <int rows, int vectors, typename T>
HWY_INLINE void strip(const TileProduct<T>& product, const T* HWY_RESTRICT a, const T* HWY_RESTRICT b,
                      T* HWY_RESTRICT c) {
  const hn::ScalableTag<T> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  hn::Vec<decltype(d)> sum[rows][vectors];
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < vectors; ++j) {
      sum[i][j] = product.accumulate ? hn::LoadU(d, c + i * product.c_row + j * lanes) : hn::Zero(d);
    }
  }
  for (int64_t k = 0; k < product.depth; ++k) {
    hn::Vec<decltype(d)> right[vectors];
#pragma GCC unroll 8
    for (int j = 0; j < vectors; ++j) right[j] = hn::LoadU(d, b + j * product.b_panel);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      const auto left = hn::Set(d, a[i * product.a_row]);
#pragma GCC unroll 8
      for (int j = 0; j < vectors; ++j) sum[i][j] = hn::MulAdd(left, right[j], sum[i][j]);
    }
    a += product.a_depth;
    b += product.b_depth;
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < vectors; ++j) hn::StoreU(sum[i][j], d, c + i * product.c_row + j * lanes);
  }
}

template <int vectors, typename T>
HWY_INLINE void column_group(const TileProduct<T>& product, const T* b, T* c) {
  int64_t row = 0;
  for (; row + kRows <= product.rows; row += kRows) {
    strip<kRows, vectors>(product, product.a + row * product.a_row, b, c + row * product.c_row);
  }
  const T* a = product.a + row * product.a_row;
  c += row * product.c_row;
  switch (product.rows - row) {
    case 1:
      return strip<1, vectors>(product, a, b, c);
    case 2:
      return strip<2, vectors>(product, a, b, c);
    case 3:
      return strip<3, vectors>(product, a, b, c);
    case 4:
      return strip<4, vectors>(product, a, b, c);
    case 5:
      return strip<5, vectors>(product, a, b, c);
    default:
      return;
  }
}

template <typename T>
void multiply_all(const TileProduct<T>& product) {
  const hn::ScalableTag<T> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), panels = product.columns / lanes;
  for (int64_t panel = 0; panel < panels;) {
    const T* b = product.b + panel * product.b_panel;
    T* c = product.c + panel * lanes;
    const int64_t left = panels - panel;
    // Five columns of vectors go as three and two: a single one leaves the adders waiting.
    const int64_t vectors = left <= kMostVectors ? left : (left == kMostVectors + 1 ? (left + 1) / 2 : kMostVectors);
    switch (vectors) {
      case 1:
        column_group<1>(product, b, c);
        break;
      case 2:
        column_group<2>(product, b, c);
        break;
      case 3:
        if constexpr (kMostVectors >= 3) column_group<3>(product, b, c);
        break;
      default:
        if constexpr (kMostVectors >= 4) column_group<4>(product, b, c);
    }
    panel += vectors;
  }
}

// ---- softmax

// exp of numbers below 88 by 2^n * polynomial(r), |r| <= ln2/2: relative error below 3e-7, exact 0 below the range of
// normal floats. NaN stays NaN.
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

// The lanes of the vector at `at` that lie in [begin, end).
template <class D>
HWY_INLINE hn::Mask<D> lanes_within(D d, int64_t at, int64_t begin, int64_t end) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto first = static_cast<size_t>(std::clamp<int64_t>(begin - at, 0, lanes));
  const auto last = static_cast<size_t>(std::clamp<int64_t>(end - at, 0, lanes));
  return hn::AndNot(hn::FirstN(d, first), hn::FirstN(d, last));
}

// Columns that every row sees, cut to whole vectors inside them, at most [rows.first, rows.last).
struct Interior {
  int64_t begin, end;
};
HWY_INLINE Interior interior_of(const TileRows& rows, int64_t lanes) {
  int64_t begin = rows.first, end = rows.last;
  for (int64_t i = 0; i < rows.count; ++i) {
    begin = std::max(begin, rows.begin[i]);
    end = std::min(end, rows.end[i]);
  }
  begin = (begin + lanes - 1) / lanes * lanes;
  return {begin, std::max(begin, end / lanes * lanes)};
}

// Rows advance together, pass by pass, so that one row's chain of operations hides behind the others'.
void softmax_more_float(float* HWY_RESTRICT scores, const TileRows& rows, float* HWY_RESTRICT largest,
                        float* HWY_RESTRICT total, float* HWY_RESTRICT correction) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto nothing = hn::Set(d, -std::numeric_limits<float>::infinity());
  const auto interior = interior_of(rows, lanes);
  const int64_t left_end = std::min(interior.begin, rows.last), right_begin = std::max(interior.end, left_end);
  float now_largest[kMostTileRows];
  for (int64_t i = 0; i < rows.count; ++i) {
    const float* row = scores + i * rows.stride;
    auto most = hn::Set(d, largest[i]), more = most;
    const auto edge = [&](int64_t at) {
      const auto seen = lanes_within(d, at, rows.begin[i], rows.end[i]);
      most = hn::Max(most, hn::IfThenElse(seen, hn::LoadU(d, row + at), nothing));
    };
    for (int64_t at = rows.first; at < left_end; at += lanes) edge(at);
    int64_t at = interior.begin;
    for (; at + lanes < interior.end; at += 2 * lanes) {
      most = hn::Max(most, hn::LoadU(d, row + at));
      more = hn::Max(more, hn::LoadU(d, row + at + lanes));
    }
    for (; at < interior.end; at += lanes) most = hn::Max(most, hn::LoadU(d, row + at));
    for (at = right_begin; at < rows.last; at += lanes) edge(at);
    now_largest[i] = hn::GetLane(hn::MaxOfLanes(d, hn::Max(most, more)));
  }
  for (int64_t i = 0; i < rows.count; ++i) {
    const auto before = hn::Set(d, largest[i]), now = hn::Set(d, now_largest[i]);
    correction[i] =
        hn::GetLane(hn::IfThenElse(hn::Eq(before, now), hn::Set(d, 1.0f), exponential(d, hn::Sub(before, now))));
  }
  for (int64_t i = 0; i < rows.count; ++i) {
    float* row = scores + i * rows.stride;
    const auto most = hn::Set(d, now_largest[i]);
    auto sum = hn::Zero(d), more = sum;
    const auto edge = [&](int64_t at) {
      const auto seen = lanes_within(d, at, rows.begin[i], rows.end[i]);
      const auto value = hn::IfThenElseZero(seen, exponential(d, hn::Sub(hn::LoadU(d, row + at), most)));
      hn::StoreU(value, d, row + at);
      sum = hn::Add(sum, value);
    };
    for (int64_t at = rows.first; at < left_end; at += lanes) edge(at);
    int64_t at = interior.begin;
    for (; at + lanes < interior.end; at += 2 * lanes) {
      const auto value = exponential(d, hn::Sub(hn::LoadU(d, row + at), most));
      const auto next = exponential(d, hn::Sub(hn::LoadU(d, row + at + lanes), most));
      hn::StoreU(value, d, row + at);
      hn::StoreU(next, d, row + at + lanes);
      sum = hn::Add(sum, value);
      more = hn::Add(more, next);
    }
    for (; at < interior.end; at += lanes) {
      const auto value = exponential(d, hn::Sub(hn::LoadU(d, row + at), most));
      hn::StoreU(value, d, row + at);
      sum = hn::Add(sum, value);
    }
    for (at = right_begin; at < rows.last; at += lanes) edge(at);
    total[i] = total[i] * correction[i] + hn::GetLane(hn::SumOfLanes(d, hn::Add(sum, more)));
    largest[i] = now_largest[i];
  }
}

void softmax_gradient_float(float* HWY_RESTRICT scores, float* HWY_RESTRICT gradient, const TileRows& rows,
                            const float* log_sum, const float* mean) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto interior = interior_of(rows, lanes);
  for (int64_t i = 0; i < rows.count; ++i) {
    float* row = scores + i * rows.stride;
    float* row_gradient = gradient + i * rows.stride;
    const auto log_sums = hn::Set(d, log_sum[i]), means = hn::Set(d, mean[i]);
    for (int64_t at = rows.first; at < rows.last; at += lanes) {
      auto weight = exponential(d, hn::Sub(hn::LoadU(d, row + at), log_sums));
      auto result = hn::Mul(weight, hn::Sub(hn::LoadU(d, row_gradient + at), means));
      if (at < interior.begin || at >= interior.end) {
        const auto seen = lanes_within(d, at, rows.begin[i], rows.end[i]);
        weight = hn::IfThenElseZero(seen, weight);
        result = hn::IfThenElseZero(seen, result);
      }
      hn::StoreU(weight, d, row + at);
      hn::StoreU(result, d, row_gradient + at);
    }
  }
}

void multiply_float(const TileProduct<float>& product) { multiply_all(product); }
void multiply_double(const TileProduct<double>& product) { multiply_all(product); }
int64_t vector_bytes() { return static_cast<int64_t>(hn::Lanes(hn::ScalableTag<uint8_t>())); }

}  // namespace HWY_NAMESPACE
}  // namespace dlcm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dlcm {

HWY_EXPORT(multiply_float);
HWY_EXPORT(multiply_double);
HWY_EXPORT(vector_bytes);
HWY_EXPORT(softmax_more_float);
HWY_EXPORT(softmax_gradient_float);

void multiply(const TileProduct<float>& product) { HWY_DYNAMIC_DISPATCH(multiply_float)(product); }
void multiply(const TileProduct<double>& product) { HWY_DYNAMIC_DISPATCH(multiply_double)(product); }

void softmax_more(float* scores, const TileRows& rows, float* largest, float* total, float* correction) {
  HWY_DYNAMIC_DISPATCH(softmax_more_float)(scores, rows, largest, total, correction);
}

void softmax_gradient(float* scores, float* gradient, const TileRows& rows, const float* log_sum, const float* mean) {
  HWY_DYNAMIC_DISPATCH(softmax_gradient_float)(scores, gradient, rows, log_sum, mean);
}

// In double, which is for tests, plain loops do.
void softmax_more(double* scores, const TileRows& rows, double* largest, double* total, double* correction) {
  for (int64_t i = 0; i < rows.count; ++i) {
    double* row = scores + i * rows.stride;
    const double before = largest[i];
    for (int64_t at = rows.begin[i]; at < rows.end[i]; ++at) largest[i] = std::max(largest[i], row[at]);
    correction[i] = largest[i] == before ? 1.0 : std::exp(before - largest[i]);
    total[i] *= correction[i];
    for (int64_t at = rows.first; at < rows.last; ++at) {
      row[at] = at >= rows.begin[i] && at < rows.end[i] ? std::exp(row[at] - largest[i]) : 0.0;
      total[i] += row[at];
    }
  }
}

void softmax_gradient(double* scores, double* gradient, const TileRows& rows, const double* log_sum,
                      const double* mean) {
  for (int64_t i = 0; i < rows.count; ++i) {
    for (int64_t at = i * rows.stride + rows.first; at < i * rows.stride + rows.last; ++at) {
      const int64_t column = at - i * rows.stride;
      const bool seen = column >= rows.begin[i] && column < rows.end[i];
      scores[at] = seen ? std::exp(scores[at] - log_sum[i]) : 0.0;
      gradient[at] = seen ? scores[at] * (gradient[at] - mean[i]) : 0.0;
    }
  }
}

template <typename T>
int64_t tile_lanes() {
  return HWY_DYNAMIC_DISPATCH(vector_bytes)() / static_cast<int64_t>(sizeof(T));
}
template int64_t tile_lanes<float>();
template int64_t tile_lanes<double>();

}  // namespace dlcm
#endif
