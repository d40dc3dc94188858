// Loops over one row that compilers vectorise: each is compiled for AVX-512, AVX2 and plain x86-64 and chosen at run
// time. No LibTorch here; the ops call these from their parallel loops. float and double.
#pragma once

#include <cstdint>

namespace dlcm::rows {

// Softmax of scores[begin, end), zeros in the rest of [0, size). Returns log(sum(exp(scores))), or -infinity and all
// zeros for an empty range.
float softmax(float* scores, int64_t size, int64_t begin, int64_t end);
double softmax(double* scores, int64_t size, int64_t begin, int64_t end);

float dot(const float* a, const float* b, int64_t size);
double dot(const double* a, const double* b, int64_t size);

// Between float and bfloat16 (the upper half of a float), rounded to the nearest, ties to even; NaN stays NaN.
void widen(const uint16_t* low, float* wide, int64_t size);
void narrow(const float* wide, uint16_t* low, int64_t size);

// x *= factor
void scale(float* x, int64_t size, float factor);
void scale(double* x, int64_t size, double factor);

// y += factor * x
void add_scaled(float* y, const float* x, int64_t size, float factor);
void add_scaled(double* y, const double* x, int64_t size, double factor);

// y = x * gain / rms(x); returns 1 / rms(x), rms(x) = sqrt(mean(x^2) + epsilon).
float rms_norm(const float* x, const float* gain, float* y, int64_t size, float epsilon);
double rms_norm(const double* x, const double* gain, double* y, int64_t size, double epsilon);

// dx from dy; adds this row's share to gain_gradient.
void rms_norm_backward(const float* x, const float* gain, const float* dy, float inverse_rms, float* dx,
                       float* gain_gradient, int64_t size);
void rms_norm_backward(const double* x, const double* gain, const double* dy, double inverse_rms, double* dx,
                       double* gain_gradient, int64_t size);

// out = gate * sigmoid(gate) * up
void swiglu(const float* gate, const float* up, float* out, int64_t size);
void swiglu(const double* gate, const double* up, double* out, int64_t size);
void swiglu_backward(const float* gate, const float* up, const float* dout, float* dgate, float* dup, int64_t size);
void swiglu_backward(const double* gate, const double* up, const double* dout, double* dgate, double* dup,
                     int64_t size);

// Rotates the pairs (x[i], x[i + half]) by the angle whose cosine and sine are given; y may be x.
void rotate(const float* x, const float* cosine, const float* sine, float* y, int64_t half);
void rotate(const double* x, const double* cosine, const double* sine, double* y, int64_t half);

// The sum of x^2, added up in double.
double sum_of_squares(const float* x, int64_t size);
double sum_of_squares(const double* x, int64_t size);

// One update of AdamW: g = gradient_scale * gradient, m and v the moments,
// w = kept * w - rate * m / (root_factor * sqrt(v) + epsilon).
template <typename T>
struct AdamW {
  T gradient_scale, kept, beta1, one_minus_beta1, beta2, one_minus_beta2, rate, root_factor, epsilon;
};
void adamw(float* parameter, const float* gradient, float* first_moment, float* second_moment, int64_t size,
           const AdamW<float>& factors);
void adamw(double* parameter, const double* gradient, double* first_moment, double* second_moment, int64_t size,
           const AdamW<double>& factors);

}  // namespace dlcm::rows
