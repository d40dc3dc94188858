// What attention does with a tile of scores, on one thread, in the widest vectors this CPU has (AVX-512, AVX2, NEON;
// chosen at run time): matrix products, and softmax forward and backward.
#pragma once

#include <array>
#include <cstdint>

namespace dlcm {

// C [rows, columns] = A [rows, depth] B [depth, columns], or C += A B. Every element is one ascending chain of fused
// multiply-adds over the depth: it depends neither on its neighbours nor on how rows and columns are cut.
template <typename T>
struct TileProduct {
  int64_t rows, columns, depth;  // columns: a multiple of tile_lanes<T>()
  const T* a;                    // A(i, k) = a[i * a_row + k * a_depth]
  int64_t a_row, a_depth;
  const T* b;  // B(k, j) = b[k * b_depth + j / lanes * b_panel + j % lanes]
  int64_t b_depth, b_panel;
  T* c;  // C(i, j) = c[i * c_row + j]
  int64_t c_row;
  bool accumulate;
};

void multiply(const TileProduct<float>& product);
void multiply(const TileProduct<double>& product);

// Rows of scores, scores[i * stride + column], of queries that see columns [begin[i], end[i]) each. What lies between
// the columns `first` and `last`, multiples of tile_lanes<T>(), is written; begin and end lie between them.
inline constexpr int64_t kMostTileRows = 6;
struct TileRows {
  int64_t count;  // at most kMostTileRows
  int64_t stride;
  int64_t first, last;
  std::array<int64_t, kMostTileRows> begin, end;
};

// More scores of softmaxes that began with largest[i] = -infinity, total[i] = 0: turns the scores seen into
// exp(score - largest) with the largest so far, the others into zeros, and adds them to the totals. correction[i]
// becomes the factor by which everything summed with the former largest shrinks; the totals have shrunk already.
void softmax_more(float* scores, const TileRows& rows, float* largest, float* total, float* correction);
void softmax_more(double* scores, const TileRows& rows, double* largest, double* total, double* correction);

// The backward pass of softmax: scores seen become weights exp(score - log_sum[i]), gradients weight * (gradient -
// mean[i]); the others zeros.
void softmax_gradient(float* scores, float* gradient, const TileRows& rows, const float* log_sum, const float* mean);
void softmax_gradient(double* scores, double* gradient, const TileRows& rows, const double* log_sum,
                      const double* mean);

// Numbers of type T in one vector.
template <typename T>
int64_t tile_lanes();

}  // namespace dlcm
