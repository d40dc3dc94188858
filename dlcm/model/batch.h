// What a model reads in one forward pass: a packed micro-batch.
#pragma once

#include "dlcm/nn/documents.h"

#include <ATen/ATen.h>

#include <vector>

namespace dlcm {

struct Batch {
  at::Tensor token_T;   // int64 ids
  at::Tensor target_T;  // int64 id of the next token of the same document, -1 where there is none
  Documents documents;  // pieces: windows cut at document edges
  at::Tensor index_T;   // int64 index of each row within its optimiser step: keys the boundary draws; training only

  int64_t tokens() const { return documents.rows(); }

  // At most `count` batches of whole documents, in order, that hold about as many tokens each.
  std::vector<Batch> parts(int64_t count) const;
};

}  // namespace dlcm
