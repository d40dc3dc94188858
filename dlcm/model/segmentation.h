// Which concept every token belongs to: built once from the boundaries, passed by const reference everywhere.
// A boundary at token t opens a *place*; its tokens up to the next boundary are its *segment* (SPEC section 1).
#pragma once

#include "dlcm/nn/documents.h"

#include <ATen/ATen.h>

namespace dlcm {

struct Segmentation {
  Documents places;        // the S places packed by document
  at::Tensor start_S;      // int64: token that opened each place
  at::Tensor length_S;     // int64: tokens of each segment
  at::Tensor place_T;      // int64: place that each token's segment belongs to
  at::Tensor visible_begin_T;  // int64: first place of each token's document
  at::Tensor visible_end_T;    // int64: one past the token's own place: tokens attend [begin, end)
  // The segments that become input to the backbone: all but each document's last, whose concept nobody may use.
  // Segment closed_begin[k] .. closed_end[k] is read at place closed_reader[k], the one after its own (the shift).
  at::Tensor closed_begin_K, closed_end_K, closed_reader_K;

  int64_t concepts() const { return places.rows(); }

  // boundary_T bool [T]; every non-empty document must begin with a boundary.
  static Segmentation from(const at::Tensor& boundary_T, const Documents& documents);
};

}  // namespace dlcm
