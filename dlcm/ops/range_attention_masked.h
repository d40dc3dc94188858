// Range attention by what LibTorch ships, for devices without a kernel of ours.
#pragma once

#include "dlcm/ops/range_attention.h"

namespace dlcm {

// LibTorch's attention under a mask made from the ranges, on the device of q, a stretch of queries at a time: the mask
// of a stretch takes at most about 64 MB. begin_T, end_T and the biases may lie on any device.
at::Tensor range_attention_masked(const RangeAttentionInput& input);

// On a CUDA device: variable-length flash attention where the ranges are those of plain causal attention in packed
// documents and the factors are half, bfloat16 or, as `precision` allows, rounded to it; else the masked form.
// Not yet run on a GPU.
at::Tensor range_attention_cuda(const RangeAttentionInput& input, ProductPrecision precision);

// The documents' offsets where query t sees exactly the rows of its document up to itself; none where ranges are
// others.
std::optional<std::vector<int64_t>> causal_offsets(const RangeAttentionInput& input);

}  // namespace dlcm
