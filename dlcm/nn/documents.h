// Packed sequences: documents (or document pieces) laid end to end in one tensor, with no padding.
// The same struct describes tokens and concepts.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace dlcm {

struct Documents {
  std::vector<int64_t> offsets;  // num_documents + 1 entries, from 0 to the number of rows T
  at::Tensor position_T;         // int64: place of each row in its document, from 0
  at::Tensor begin_T;            // int64: first row of each row's document
  at::Tensor end_T;              // int64: one past the row itself, so [begin, end) is causal attention

  static Documents from_offsets(std::vector<int64_t> offsets);
  // The same documents, each row seeing at most `window` rows, itself included; all up to it where window is 0.
  Documents within(int64_t window) const;
  int64_t size() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t rows() const { return offsets.back(); }
};

}  // namespace dlcm
