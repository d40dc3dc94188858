#include "dlcm/model/pooling.h"

#include "dlcm/ops/segment_mean.h"

namespace dlcm {

PoolingImpl::PoolingImpl(const Config& config)
    : start_concept_W(register_parameter("start_concept", at::zeros({config.model.concepts.width}))),
      span_(config.model.pooling),
      norm_(register_module("norm", RmsNorm(config.model.token.width, config.model.norm_epsilon))),
      up_(register_module("up", Linear(config.model.token.width, config.model.concepts.width))) {}

at::Tensor PoolingImpl::forward(const at::Tensor& h_TD, const Segmentation& segmentation) {
  // PAPER-GAP: pooling reads RMSNorm(H). PAPER-GAP: the shift; the paper would let a token see its own concept's end.
  auto begin_K = segmentation.closed_begin_K, end_K = segmentation.closed_end_K;
  if (span_ == PoolingSpan::through_opening) {
    // The token that opened the segment ended the concept before, except a document's first, which follows none.
    const auto first_place_K = segmentation.visible_begin_T.index_select(0, begin_K);
    begin_K = begin_K + segmentation.closed_reader_K.gt(first_place_K + 1);
    end_K = end_K + 1;
  }
  const auto mean_KD = segment_mean(norm_->forward(h_TD), begin_K, end_K);
  const auto concept_KW = up_->forward(mean_KD);
  return start_concept_W.expand({segmentation.concepts(), start_concept_W.size(0)})
      .index_copy(0, segmentation.closed_reader_K, concept_KW);
}

}  // namespace dlcm
