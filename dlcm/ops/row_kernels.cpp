// Each function is a plain loop in a template, instantiated for float and double inside functions that the compiler
// clones per instruction set. Sums that may be reordered carry `omp simd reduction`; nothing else is relaxed.
#include "dlcm/ops/row_kernels.h"

#include <bit>
#include <cmath>
#include <limits>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define DLCM_PER_INSTRUCTION_SET __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define DLCM_PER_INSTRUCTION_SET
#endif
#define DLCM_INLINE inline __attribute__((always_inline))

namespace dlcm::rows {
namespace {

// exp by 2^n * polynomial(r), |r| <= ln2/2: relative error below 2e-7, exact 0 below the range of normal floats and
// +infinity above. NaN stays NaN.
DLCM_INLINE float exponential(float x) {
  const float bounded = x < -87.33654f ? -87.33654f : (x > 88.72283f ? 88.72283f : x);
  const float scaled = bounded * 1.44269504088896341f;
  const float shifted = scaled + 12582912.0f;  // 1.5 * 2^23: the low bits now hold round(scaled)
  const float n = shifted - 12582912.0f;
  const float r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  float polynomial = 1.9875691500e-4f;
  polynomial = polynomial * r + 1.3981999507e-3f;
  polynomial = polynomial * r + 8.3334519073e-3f;
  polynomial = polynomial * r + 4.1665795894e-2f;
  polynomial = polynomial * r + 1.6666665459e-1f;
  polynomial = polynomial * r + 5.0000001201e-1f;
  polynomial = polynomial * r * r + r + 1.0f;
  // n is in [-126, 128]; two factors keep 2^128 from overflowing on the way.
  const int32_t exponent =
      static_cast<int32_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(12582912.0f));
  const int32_t half = exponent >> 1;
  const float low = std::bit_cast<float>((half + 127) << 23);
  const float high = std::bit_cast<float>((exponent - half + 127) << 23);
  const float value = polynomial * low * high;
  return x < -87.33654f ? 0.0f : (x > 88.72283f ? std::numeric_limits<float>::infinity() : (x == x ? value : x));
}
DLCM_INLINE double exponential(double x) { return std::exp(x); }

// Zeros outside [begin, end), which may be empty or lie beyond the row.
template <typename T>
DLCM_INLINE void clear_outside(T* scores, int64_t size, int64_t begin, int64_t end) {
  for (int64_t i = 0; i < (begin < size ? begin : size); ++i) scores[i] = T(0);
  for (int64_t i = end > begin ? end : begin; i < size; ++i) scores[i] = T(0);
}

template <typename T>
DLCM_INLINE T softmax_row(T* scores, int64_t size, int64_t begin, int64_t end) {
  clear_outside(scores, size, begin, end);
  if (end <= begin) return -std::numeric_limits<T>::infinity();
  T largest = scores[begin];
#pragma omp simd reduction(max : largest)
  for (int64_t i = begin; i < end; ++i) largest = scores[i] > largest ? scores[i] : largest;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = begin; i < end; ++i) {
    const T value = exponential(scores[i] - largest);
    scores[i] = value;
    sum += value;
  }
  const T inverse = T(1) / sum;
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) scores[i] *= inverse;
  return largest + std::log(sum);
}

template <typename T>
DLCM_INLINE void scale_row(T* x, int64_t size, T factor) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) x[i] *= factor;
}

template <typename T>
DLCM_INLINE T dot_row(const T* a, const T* b, int64_t size) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < size; ++i) sum += a[i] * b[i];
  return sum;
}

template <typename T>
DLCM_INLINE void add_scaled_row(T* y, const T* x, int64_t size, T factor) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) y[i] += factor * x[i];
}

template <typename T>
DLCM_INLINE T rms_norm_row(const T* x, const T* gain, T* y, int64_t size, T epsilon) {
  const T inverse_rms = T(1) / std::sqrt(dot_row(x, x, size) / static_cast<T>(size) + epsilon);
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) y[i] = x[i] * inverse_rms * gain[i];
  return inverse_rms;
}

template <typename T>
DLCM_INLINE void rms_norm_backward_row(const T* x, const T* gain, const T* dy, T inverse_rms, T* dx, T* gain_gradient,
                                       int64_t size) {
  T projection = 0;
#pragma omp simd reduction(+ : projection)
  for (int64_t i = 0; i < size; ++i) projection += dy[i] * gain[i] * x[i];
  const T factor = projection * inverse_rms * inverse_rms * inverse_rms / static_cast<T>(size);
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    gain_gradient[i] += dy[i] * x[i] * inverse_rms;
    dx[i] = dy[i] * gain[i] * inverse_rms - x[i] * factor;
  }
}

template <typename T>
DLCM_INLINE void swiglu_row(const T* gate, const T* up, T* out, int64_t size) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) out[i] = gate[i] / (T(1) + exponential(-gate[i])) * up[i];
}

template <typename T>
DLCM_INLINE void swiglu_backward_row(const T* gate, const T* up, const T* dout, T* dgate, T* dup, int64_t size) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    const T sigmoid = T(1) / (T(1) + exponential(-gate[i]));
    const T silu = gate[i] * sigmoid;
    dup[i] = dout[i] * silu;
    dgate[i] = dout[i] * up[i] * (sigmoid + silu * (T(1) - sigmoid));
  }
}

template <typename T>
DLCM_INLINE void rotate_row(const T* x, const T* cosine, const T* sine, T* y, int64_t half) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const T first = x[i];
    const T second = x[i + half];
    y[i] = first * cosine[i] - second * sine[i];
    y[i + half] = second * cosine[i] + first * sine[i];
  }
}

template <typename T>
DLCM_INLINE double sum_of_squares_row(const T* x, int64_t size) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < size; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

template <typename T>
DLCM_INLINE void adamw_row(T* w, const T* gradient, T* m, T* v, int64_t size, const AdamW<T>& factors) {
  const auto [gradient_scale, kept, beta1, one_minus_beta1, beta2, one_minus_beta2, rate, root_factor, epsilon] = factors;
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    const T g = gradient[i] * gradient_scale;
    m[i] = beta1 * m[i] + one_minus_beta1 * g;
    v[i] = beta2 * v[i] + one_minus_beta2 * g * g;
    w[i] = kept * w[i] - rate * m[i] / (std::sqrt(v[i]) * root_factor + epsilon);
  }
}

}  // namespace

#define DLCM_FOR_FLOAT_AND_DOUBLE(T)                                                                            \
  DLCM_PER_INSTRUCTION_SET T softmax(T* scores, int64_t size, int64_t begin, int64_t end) {                     \
    return softmax_row(scores, size, begin, end);                                                               \
  }                                                                                                             \
  DLCM_PER_INSTRUCTION_SET void scale(T* x, int64_t size, T factor) { scale_row(x, size, factor); }             \
  DLCM_PER_INSTRUCTION_SET T dot(const T* a, const T* b, int64_t size) { return dot_row(a, b, size); }          \
  DLCM_PER_INSTRUCTION_SET void add_scaled(T* y, const T* x, int64_t size, T factor) {                          \
    add_scaled_row(y, x, size, factor);                                                                         \
  }                                                                                                             \
  DLCM_PER_INSTRUCTION_SET T rms_norm(const T* x, const T* gain, T* y, int64_t size, T epsilon) {               \
    return rms_norm_row(x, gain, y, size, epsilon);                                                             \
  }                                                                                                             \
  DLCM_PER_INSTRUCTION_SET void rms_norm_backward(const T* x, const T* gain, const T* dy, T inverse_rms, T* dx, \
                                                  T* gain_gradient, int64_t size) {                             \
    rms_norm_backward_row(x, gain, dy, inverse_rms, dx, gain_gradient, size);                                   \
  }                                                                                                             \
  DLCM_PER_INSTRUCTION_SET void swiglu(const T* gate, const T* up, T* out, int64_t size) {                      \
    swiglu_row(gate, up, out, size);                                                                            \
  }                                                                                                             \
  DLCM_PER_INSTRUCTION_SET void swiglu_backward(const T* gate, const T* up, const T* dout, T* dgate, T* dup,    \
                                                int64_t size) {                                                 \
    swiglu_backward_row(gate, up, dout, dgate, dup, size);                                                      \
  }                                                                                                             \
  DLCM_PER_INSTRUCTION_SET double sum_of_squares(const T* x, int64_t size) { return sum_of_squares_row(x, size); } \
  DLCM_PER_INSTRUCTION_SET void adamw(T* w, const T* g, T* m, T* v, int64_t size, const AdamW<T>& factors) {     \
    adamw_row(w, g, m, v, size, factors);                                                                       \
  }                                                                                                             \
  DLCM_PER_INSTRUCTION_SET void rotate(const T* x, const T* cosine, const T* sine, T* y, int64_t half) {        \
    rotate_row(x, cosine, sine, y, half);                                                                       \
  }

DLCM_PER_INSTRUCTION_SET void widen(const uint16_t* low, float* wide, int64_t size) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) wide[i] = std::bit_cast<float>(static_cast<uint32_t>(low[i]) << 16);
}

DLCM_PER_INSTRUCTION_SET void narrow(const float* wide, uint16_t* low, int64_t size) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(wide[i]);
    const uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    low[i] = static_cast<uint16_t>(wide[i] == wide[i] ? rounded : (bits >> 16 | 0x40u));
  }
}

DLCM_FOR_FLOAT_AND_DOUBLE(float)
DLCM_FOR_FLOAT_AND_DOUBLE(double)

}  // namespace dlcm::rows
