// Compiled once per instruction set by Highway. Without the precompiled header: targets are set before any include.
#include "dlcm/kernels/row_kernels.h"

// Vectors of unknown size cannot lie in arrays.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3 | HWY_SSE4)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "dlcm/kernels/row_kernels.cpp"
#include <hwy/foreach_target.h>  // before highway.h
#include "dlcm/kernels/chain_tile-inl.h"

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace dlcm {
namespace HWY_NAMESPACE {

// Calls visit(d, i) for whole vectors and then for what is left, a lane at a time.
template <typename Visit>
HWY_INLINE void for_vectors(int64_t size, const Visit& visit) {
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) visit(Float(), i);
  for (; i < size; ++i) visit(hn::CappedTag<float, 1>(), i);
}

// The sum of term(d, i) in kSumParts parts, part i % kSumParts for number i.
template <typename Term>
HWY_INLINE float sum_terms(int64_t size, const Term& term) {
  alignas(64) float parts[kSumParts];
  constexpr int vectors = static_cast<int>(kSumParts / kLanes);
  const Float d;
  FloatVector sum[vectors];
#pragma GCC unroll 16
  for (int j = 0; j < vectors; ++j) sum[j] = hn::Zero(d);
  int64_t i = 0;
  for (; i + kSumParts <= size; i += kSumParts) {
#pragma GCC unroll 16
    for (int j = 0; j < vectors; ++j) sum[j] = term(d, i + j * kLanes, sum[j]);
  }
#pragma GCC unroll 16
  for (int j = 0; j < vectors; ++j) hn::StoreU(sum[j], d, parts + j * kLanes);
  const hn::CappedTag<float, 1> one;
  for (int64_t part = 0; i < size; ++i, ++part) {
    hn::StoreU(term(one, i, hn::LoadU(one, parts + part)), one, parts + part);
  }
  return sum_of_parts(parts);
}

HWY_INLINE float dot(const float* a, const float* b, int64_t size) {
  return sum_terms(
      size, [&](auto d, int64_t i, auto sum) { return hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum); });
}

void rms_norm_row(const float* x, const float* gain, float* y, int64_t size, float epsilon) {
  const float inverse = 1.0f / std::sqrt(dot(x, x, size) / static_cast<float>(size) + epsilon);
  for_vectors(size, [&](auto d, int64_t i) {
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, inverse)), hn::LoadU(d, gain + i)), d, y + i);
  });
}

void rotate_row(const float* x, const float* cosine, const float* sine, float* y, int64_t half) {
  for_vectors(half, [&](auto d, int64_t i) {
    const auto first = hn::LoadU(d, x + i), second = hn::LoadU(d, x + half + i);
    const auto c = hn::LoadU(d, cosine + i), s = hn::LoadU(d, sine + i);
    hn::StoreU(hn::NegMulAdd(second, s, hn::Mul(first, c)), d, y + i);
    hn::StoreU(hn::MulAdd(first, s, hn::Mul(second, c)), d, y + half + i);
  });
}

void swiglu_row(const float* gate, const float* up, float* out, int64_t size) {
  for_vectors(size, [&](auto d, int64_t i) {
    const auto g = hn::LoadU(d, gate + i);
    // exp's argument is bounded: beyond, the gate is g or next to nothing.
    const auto power = exponential(d, hn::Min(hn::Neg(g), hn::Set(d, 87.0f)));
    const auto silu = hn::Div(g, hn::Add(hn::Set(d, 1.0f), power));
    hn::StoreU(hn::Mul(silu, hn::LoadU(d, up + i)), d, out + i);
  });
}

void add_row(const float* x, float* y, int64_t size) {
  for_vectors(size,
              [&](auto d, int64_t i) { hn::StoreU(hn::Add(hn::LoadU(d, y + i), hn::LoadU(d, x + i)), d, y + i); });
}

void scale_row(float* x, int64_t size, float factor) {
  for_vectors(size, [&](auto d, int64_t i) { hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor)), d, x + i); });
}

void smooth_row(const float* z, float p, float* s, int64_t size) {
  for_vectors(size, [&](auto d, int64_t i) {
    const auto kept = hn::Mul(hn::LoadU(d, s + i), hn::Set(d, 1.0f - p));
    hn::StoreU(hn::MulAdd(hn::LoadU(d, z + i), hn::Set(d, p), kept), d, s + i);
  });
}

float boundary_score_of(const float* q, const float* k, int64_t size) {
  const float squares_q = dot(q, q, size), squares_k = dot(k, k, size);
  const float inverse_q = squares_q > 0.0f ? 1.0f / std::sqrt(squares_q) : 0.0f;
  const float inverse_k = squares_k > 0.0f ? 1.0f / std::sqrt(squares_k) : 0.0f;
  const float cosine = dot(q, k, size) * inverse_q * inverse_k;
  return std::clamp((1.0f - cosine) / 2.0f, 0.0f, 1.0f);
}

HWY_INLINE float largest_of(const float* x, int64_t size) {
  auto most = hn::Set(Float(), -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) most = hn::Max(most, hn::LoadU(Float(), x + i));
  float largest = hn::GetLane(hn::MaxOfLanes(Float(), most));
  for (; i < size; ++i) largest = std::max(largest, x[i]);
  return largest;
}

float log_sum_exp_of(const float* x, int64_t size) {
  const float largest = largest_of(x, size);
  const float sum = sum_terms(size, [&](auto d, int64_t i, auto sum_so_far) {
    return hn::Add(sum_so_far, exponential(d, hn::Sub(hn::LoadU(d, x + i), hn::Set(d, largest))));
  });
  return largest + std::log(sum);
}

int64_t argmax_of(const float* x, int64_t size) {
  const float largest = largest_of(x, size);
  for (int64_t i = 0; i < size; ++i) {
    if (x[i] == largest) return i;
  }
  return 0;
}

}  // namespace HWY_NAMESPACE
}  // namespace dlcm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dlcm {

HWY_EXPORT(rms_norm_row);
HWY_EXPORT(rotate_row);
HWY_EXPORT(swiglu_row);
HWY_EXPORT(add_row);
HWY_EXPORT(scale_row);
HWY_EXPORT(smooth_row);
HWY_EXPORT(boundary_score_of);
HWY_EXPORT(log_sum_exp_of);
HWY_EXPORT(argmax_of);

namespace kernels {

void rms_norm(const float* x, const float* gain, float* y, int64_t size, float epsilon) {
  HWY_DYNAMIC_DISPATCH(rms_norm_row)(x, gain, y, size, epsilon);
}
void rotate(const float* x, const float* cosine, const float* sine, float* y, int64_t half) {
  HWY_DYNAMIC_DISPATCH(rotate_row)(x, cosine, sine, y, half);
}
void swiglu(const float* gate, const float* up, float* out, int64_t size) {
  HWY_DYNAMIC_DISPATCH(swiglu_row)(gate, up, out, size);
}
void add(const float* x, float* y, int64_t size) { HWY_DYNAMIC_DISPATCH(add_row)(x, y, size); }
void scale(float* x, int64_t size, float factor) { HWY_DYNAMIC_DISPATCH(scale_row)(x, size, factor); }
void smooth(const float* z, float p, float* s, int64_t size) { HWY_DYNAMIC_DISPATCH(smooth_row)(z, p, s, size); }
float boundary_score(const float* q, const float* k, int64_t size) {
  return HWY_DYNAMIC_DISPATCH(boundary_score_of)(q, k, size);
}
float log_sum_exp(const float* x, int64_t size) { return HWY_DYNAMIC_DISPATCH(log_sum_exp_of)(x, size); }
int64_t argmax(const float* x, int64_t size) { return HWY_DYNAMIC_DISPATCH(argmax_of)(x, size); }

}  // namespace kernels
}  // namespace dlcm
#endif
