// The BLAS that LibTorch carries (MKL or OpenBLAS), called from inside parallel loops where it runs on one thread.
#pragma once

#include <cstdint>

extern "C" {
void sgemm_(const char* transpose_a, const char* transpose_b, const int* m, const int* n, const int* k,
            const float* alpha, const float* a, const int* lda, const float* b, const int* ldb, const float* beta,
            float* c, const int* ldc);
void dgemm_(const char* transpose_a, const char* transpose_b, const int* m, const int* n, const int* k,
            const double* alpha, const double* a, const int* lda, const double* b, const int* ldb, const double* beta,
            double* c, const int* ldc);
}

namespace dlcm {

enum class Transpose : char { no = 'N', yes = 'T' };

// Column-major C [m, n] = alpha * op(A) [m, k] * op(B) [k, n] + beta * C.
inline void gemm(Transpose transpose_a, Transpose transpose_b, int m, int n, int k, float alpha, const float* a, int lda,
                 const float* b, int ldb, float beta, float* c, int ldc) {
  const char ta = static_cast<char>(transpose_a), tb = static_cast<char>(transpose_b);
  sgemm_(&ta, &tb, &m, &n, &k, &alpha, a, &lda, b, &ldb, &beta, c, &ldc);
}
inline void gemm(Transpose transpose_a, Transpose transpose_b, int m, int n, int k, double alpha, const double* a,
                 int lda, const double* b, int ldb, double beta, double* c, int ldc) {
  const char ta = static_cast<char>(transpose_a), tb = static_cast<char>(transpose_b);
  dgemm_(&ta, &tb, &m, &n, &k, &alpha, a, &lda, b, &ldb, &beta, c, &ldc);
}

}  // namespace dlcm
