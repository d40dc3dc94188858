// What a model does with one row at a time besides products and attention, in fixed orders of sums: the same bits on
// AVX2 and AVX-512, whatever else is computed. Rows may be their own results unless said otherwise.
#pragma once

#include <cstdint>

namespace dlcm::kernels {

// y = x * gain / sqrt(mean(x^2) + epsilon)
void rms_norm(const float* x, const float* gain, float* y, int64_t size, float epsilon);

// Rotates the pairs (x[i], x[i + half]) by the angle whose cosine and sine are given.
void rotate(const float* x, const float* cosine, const float* sine, float* y, int64_t half);

// out = gate * sigmoid(gate) * up
void swiglu(const float* gate, const float* up, float* out, int64_t size);

// y += x
void add(const float* x, float* y, int64_t size);

// x *= factor
void scale(float* x, int64_t size, float factor);

// A place of a moving average: s = p z + (1 - p) s.
void smooth(const float* z, float p, float* s, int64_t size);

// (1 - cos(q, k)) / 2 in [0, 1]; a row of zeros is at right angles to all.
float boundary_score(const float* q, const float* k, int64_t size);

// log(sum(exp(x)))
float log_sum_exp(const float* x, int64_t size);

// The first of the largest numbers.
int64_t argmax(const float* x, int64_t size);

}  // namespace dlcm::kernels
