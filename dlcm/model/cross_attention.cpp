#include "dlcm/model/cross_attention.h"

#include "dlcm/nn/precision.h"
#include "dlcm/ops/range_attention.h"
#include "dlcm/ops/rotary.h"
#include "dlcm/ops/replicated_attention.h"

namespace dlcm {

CrossAttentionImpl::CrossAttentionImpl(const Config& config)
    : stack_(config.model.token.stack(1)),
      reading_(config.model.cross_attention),
      gradient_(config.parser.gradient),
      positions_(config.model.cross_attention_positions),
      rope_theta_(config.model.rope_theta),
      norm_(register_module("norm", RmsNorm(stack_.width, config.model.norm_epsilon))),
      query_norm_(register_module("query_norm", RmsNorm(stack_.head_size(), config.model.norm_epsilon))),
      key_norm_(register_module("key_norm", RmsNorm(stack_.head_size(), config.model.norm_epsilon))),
      query_(register_module("query", Linear(stack_.width, stack_.width))),
      key_(register_module("key", Linear(config.model.concepts.width, stack_.kv_heads * stack_.head_size()))),
      value_(register_module("value", Linear(config.model.concepts.width, stack_.kv_heads * stack_.head_size()))),
      output_(register_module("output", Linear(stack_.width, stack_.width))) {}

at::Tensor CrossAttentionImpl::placed(const at::Tensor& x, const at::Tensor& place) const {
  // PAPER-GAP: no rotary positions here by default.
  if (positions_ == CrossAttentionPositions::none) return x;
  return rotated(x, rotary_angles(place, stack_.head_size(), rope_theta_, x.scalar_type()));
}

at::Tensor CrossAttentionImpl::queries(const at::Tensor& h_TD, const Segmentation& segmentation) const {
  // PAPER-GAP: queries read RMSNorm(H), the residual runs on raw H.
  const auto q_TD = query_->forward(norm_->forward(h_TD));
  return placed(query_norm_->forward(q_TD.view({h_TD.size(0), stack_.heads, stack_.head_size()})),
                segmentation.place_T - segmentation.visible_begin_T);
}

at::Tensor CrossAttentionImpl::keys(const at::Tensor& z_SW, const Segmentation& segmentation) const {
  return placed(key_norm_->forward(key_->forward(z_SW).view({z_SW.size(0), stack_.kv_heads, stack_.head_size()})),
                segmentation.places.position_T);
}

at::Tensor CrossAttentionImpl::values(const at::Tensor& z_SW) const {
  return value_->forward(z_SW).view({z_SW.size(0), stack_.kv_heads, stack_.head_size()});
}

at::Tensor CrossAttentionImpl::residual(const at::Tensor& h_TD, const at::Tensor& mixed_TNH, const Cut& cut) const {
  auto read_TD = output_->forward(mixed_TNH.reshape({h_TD.size(0), stack_.width}));
  if (gradient_ == ParserGradient::straight_through) read_TD = straight_through(read_TD, cut);
  return h_TD + read_TD;
}

at::Tensor CrossAttentionImpl::forward(const at::Tensor& h_TD, const at::Tensor& z_SW, const Segmentation& segmentation,
                                       const Cut& cut, const Documents& documents) {
  const auto q_TNH = queries(h_TD, segmentation), k_SGH = keys(z_SW, segmentation), v_SGH = values(z_SW);
  if (reading_ == CrossAttentionReading::replication) {
    const auto mixed = replicated_attention(q_TNH, k_SGH, v_SGH, segmentation.place_T, documents.offsets);
    return residual(h_TD, mixed, cut);
  }
  RangeAttentionInput input{.q_TNH = q_TNH,
                            .k_SGH = k_SGH,
                            .v_SGH = v_SGH,
                            .begin_T = segmentation.visible_begin_T,
                            .end_T = segmentation.visible_end_T,
                            .key_bias_S = {},
                            .last_key_bias_T = {}};
  if (reading_ != CrossAttentionReading::plain) {
    // Place k stands at each of its n_k tokens: all n_k of an earlier place, t - s_k + 1 of the open one.
    input.key_bias_S = segmentation.length_S.to(h_TD.scalar_type()).log();
    const auto opened_T = segmentation.start_S.index_select(0, segmentation.place_T);
    input.last_key_bias_T = (at::arange(h_TD.size(0), at::kLong) - opened_T + 1).to(h_TD.scalar_type()).log();
  }
  return residual(h_TD, range_attention(input, product_precision()), cut);
}

}  // namespace dlcm
