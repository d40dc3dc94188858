// The innermost loops of `multiply`: a few rows of activations times some panels of weights, on one thread, in the
// widest vectors this CPU has (chosen at run time).
#pragma once

#include "dlcm/kernels/packed_matrix.h"

#include <cstddef>
#include <cstdint>

namespace dlcm {

// Activations of a tile of rows, packed for it: inputs ascending, and for each input all rows.
//   floats      [inputs][rows]
//   quantised   [groups][quads of 4 inputs][rows] entries of activation_quad_bytes()
struct TileProduct {
  WeightFormat format;
  int64_t rows;             // at most most_tile_rows()
  int64_t inputs;           // of this stretch; a multiple of group_inputs(format)
  const void* activations;  // the stretch's first input
  const float* scales;      // quantised only: [groups][rows]
  const int32_t*
      offsets;  // quantised only: [groups][rows], minus the sum of the group's integers * the weights' offset
  const std::byte* weights;    // of the first panel
  int64_t panels, panel_step;  // bytes from one panel to the next
  float* y;                    // [rows] of kPanelOutputs for each panel
  int64_t y_row;
  bool continues;  // y holds the chain's sum so far
  // Where two tiles read the same weights of one panel: what to ask for meanwhile, for each two inputs as many bytes as
  // one has. Otherwise null: the weights themselves are asked for before they are read.
  const std::byte* prefetch;
};

void multiply_tile(const TileProduct& product);

// Rows whose sums fit the registers: 12 with AVX-512, else 6.
int64_t most_tile_rows();
int64_t activation_quad_bytes();

// Writes rows x[0, rows) of `inputs` (row r at x + r * x_row) in the layout above, groups filled up with zeros.
void pack_float_activations(const float* x, int64_t x_row, int64_t rows, int64_t inputs, float* packed);
void pack_quantised_activations(WeightFormat format, const float* x, int64_t x_row, int64_t rows, int64_t inputs,
                                std::byte* packed, float* scales, int32_t* offsets);

// bfloat16 (the upper half of a float) to float; size a multiple of kPanelOutputs.
void widen_bfloat16(const std::byte* bfloat16, float* wide, int64_t size);

}  // namespace dlcm
