#include "dlcm/model/pooling.h"

#include "dlcm/ops/segment_mean.h"

namespace dlcm {

PoolingImpl::PoolingImpl(const Config& config)
    : start_concept_W(register_parameter("start_concept", at::zeros({config.model.concepts.width}))),
      norm_(register_module("norm", RmsNorm(config.model.token.width, config.model.norm_epsilon))),
      up_(register_module("up", Linear(config.model.token.width, config.model.concepts.width))) {}

at::Tensor PoolingImpl::forward(const at::Tensor& h_TD, const Segmentation& segmentation) {
  // PAPER-GAP: pooling reads RMSNorm(H). PAPER-GAP: the shift; the paper would let a token see its own concept's end.
  const auto mean_KD = segment_mean(norm_->forward(h_TD), segmentation.closed_begin_K, segmentation.closed_end_K);
  const auto concept_KW = up_->forward(mean_KD);
  return start_concept_W.expand({segmentation.concepts(), start_concept_W.size(0)})
      .index_copy(0, segmentation.closed_reader_K, concept_KW);
}

}  // namespace dlcm
