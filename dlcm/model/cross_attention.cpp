#include "dlcm/model/cross_attention.h"

#include "dlcm/nn/precision.h"
#include "dlcm/ops/range_attention.h"
#include "dlcm/ops/replicated_attention.h"

namespace dlcm {

CrossAttentionImpl::CrossAttentionImpl(const Config& config)
    : stack_(config.model.token.stack(1)),
      reading_(config.model.cross_attention),
      gradient_(config.parser.gradient),
      norm_(register_module("norm", RmsNorm(stack_.width, config.model.norm_epsilon))),
      query_norm_(register_module("query_norm", RmsNorm(stack_.head_size(), config.model.norm_epsilon))),
      key_norm_(register_module("key_norm", RmsNorm(stack_.head_size(), config.model.norm_epsilon))),
      query_(register_module("query", Linear(stack_.width, stack_.width))),
      key_(register_module("key", Linear(config.model.concepts.width, stack_.kv_heads * stack_.head_size()))),
      value_(register_module("value", Linear(config.model.concepts.width, stack_.kv_heads * stack_.head_size()))),
      output_(register_module("output", Linear(stack_.width, stack_.width))) {}

at::Tensor CrossAttentionImpl::queries(const at::Tensor& h_TD) const {
  // PAPER-GAP: queries read RMSNorm(H), the residual runs on raw H, and no rotary positions are used here.
  const auto q_TD = query_->forward(norm_->forward(h_TD));
  return query_norm_->forward(q_TD.view({h_TD.size(0), stack_.heads, stack_.head_size()}));
}

at::Tensor CrossAttentionImpl::keys(const at::Tensor& z_SW) const {
  return key_norm_->forward(key_->forward(z_SW).view({z_SW.size(0), stack_.kv_heads, stack_.head_size()}));
}

at::Tensor CrossAttentionImpl::values(const at::Tensor& z_SW) const {
  return value_->forward(z_SW).view({z_SW.size(0), stack_.kv_heads, stack_.head_size()});
}

at::Tensor CrossAttentionImpl::residual(const at::Tensor& h_TD, const at::Tensor& mixed_TNH, const Cut& cut) const {
  auto read_TD = output_->forward(mixed_TNH.reshape({h_TD.size(0), stack_.width}));
  if (gradient_ == ParserGradient::straight_through) {
    // c_t = p_t where b_t = 1, else 1 - p_t; the factor 1 + (c - stop(c)) is exactly 1 in value.
    const auto confidence_T = at::where(cut.boundary_T, cut.p_T, 1 - cut.p_T);
    read_TD = read_TD * (1 + (confidence_T - confidence_T.detach())).unsqueeze(1);
  }
  return h_TD + read_TD;
}

at::Tensor CrossAttentionImpl::forward(const at::Tensor& h_TD, const at::Tensor& z_SW, const Segmentation& segmentation,
                                       const Cut& cut, const Documents& documents) {
  const auto q_TNH = queries(h_TD), k_SGH = keys(z_SW), v_SGH = values(z_SW);
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
