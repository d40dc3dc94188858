#include "dlcm/ops/range_attention_masked.h"

#include <ATen/ops/_flash_attention_forward.h>

#include <algorithm>
#include <limits>

namespace dlcm {
namespace {

constexpr int64_t kMaskElements = int64_t{1} << 24;

// [rows, heads, size] as the [1, heads, rows, size] that LibTorch's attention takes.
at::Tensor heads_first(const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); }

}  // namespace

at::Tensor range_attention_masked(const RangeAttentionInput& input) {
  const auto device = input.q_TNH.device();
  const auto type = input.q_TNH.scalar_type();
  const int64_t queries = input.q_TNH.size(0), keys = input.k_SGH.size(0);
  const auto key = at::arange(keys, at::TensorOptions(at::kLong).device(device));
  const auto begin_T = input.begin_T.to(device), end_T = input.end_T.to(device);
  const auto k = heads_first(input.k_SGH), v = heads_first(input.v_SGH);
  const int64_t stretch = std::max<int64_t>(1, kMaskElements / std::max<int64_t>(1, keys));
  std::vector<at::Tensor> mixed;
  for (int64_t first = 0; first < queries; first += stretch) {
    const int64_t count = std::min(stretch, queries - first);
    const auto begin = begin_T.narrow(0, first, count).unsqueeze(1), end = end_T.narrow(0, first, count).unsqueeze(1);
    const auto empty = begin.ge(end);
    auto bias = at::zeros({count, keys}, at::TensorOptions(type).device(device));
    if (input.key_bias_S.defined()) bias = bias + input.key_bias_S.to(device, type);
    if (input.last_key_bias_T.defined()) {
      bias =
          at::where(key.eq(end - 1), input.last_key_bias_T.to(device, type).narrow(0, first, count).unsqueeze(1), bias);
    }
    // A query that sees nothing would average over nothing: it sees all, and its result is cleared.
    const auto hidden = key.lt(begin).logical_or(key.ge(end)).logical_and(empty.logical_not());
    bias = bias.masked_fill(hidden, -std::numeric_limits<double>::infinity());
    mixed.push_back(at::scaled_dot_product_attention(heads_first(input.q_TNH.narrow(0, first, count)), k, v,
                                                     bias.unsqueeze(0).unsqueeze(0), 0.0, /*is_causal=*/false,
                                                     std::nullopt, /*enable_gqa=*/true)
                        .squeeze(0)
                        .transpose(0, 1)
                        .masked_fill(empty.unsqueeze(2), 0.0));
  }
  return mixed.empty() || keys == 0 ? at::zeros_like(input.q_TNH) : at::cat(mixed);
}

std::optional<std::vector<int64_t>> causal_offsets(const RangeAttentionInput& input) {
  const int64_t queries = input.q_TNH.size(0);
  if (input.k_SGH.size(0) != queries || input.key_bias_S.defined() || input.last_key_bias_T.defined())
    return std::nullopt;
  const auto *begin = input.begin_T.const_data_ptr<int64_t>(), *end = input.end_T.const_data_ptr<int64_t>();
  std::vector<int64_t> offsets{0};
  for (int64_t t = 0; t < queries; ++t) {
    if (end[t] != t + 1 || (begin[t] != t && begin[t] != offsets.back())) return std::nullopt;
    if (begin[t] == t && t > 0) offsets.push_back(t);
  }
  if (queries > 0) offsets.push_back(queries);
  return offsets;
}

at::Tensor range_attention_cuda(const RangeAttentionInput& input, ProductPrecision precision) {
  const auto given = input.q_TNH.scalar_type();
  const bool is_half = given == at::kHalf || given == at::kBFloat16;
  const auto type = !is_half && precision == ProductPrecision::bfloat16 ? at::kBFloat16 : given;
  const auto offsets = is_half || type == at::kBFloat16 ? causal_offsets(input) : std::nullopt;
  if (!offsets || offsets->size() < 2) return range_attention_masked(input);
  int64_t longest = 0;
  for (size_t i = 0; i + 1 < offsets->size(); ++i) longest = std::max(longest, (*offsets)[i + 1] - (*offsets)[i]);
  const auto cumulative = at::tensor(*offsets, at::kInt).to(input.q_TNH.device());
  return std::get<0>(at::_flash_attention_forward(input.q_TNH.to(type), input.k_SGH.to(type), input.v_SGH.to(type),
                                                  cumulative, cumulative, longest, longest, /*dropout_p=*/0.0,
                                                  /*is_causal=*/true, /*return_debug_mask=*/false))
      .to(given);
}

}  // namespace dlcm
