#include "dlcm/model/concept_residual.h"

namespace dlcm {

ConceptResidualImpl::ConceptResidualImpl(const Config& config)
    : gradient_(config.parser.gradient),
      down_(register_module("down", Linear(config.model.concepts.width, config.model.token.width))) {}

at::Tensor ConceptResidualImpl::forward(const at::Tensor& h_TD, const at::Tensor& z_SW,
                                        const Segmentation& segmentation, const Cut& cut) {
  auto read_TD = down_->forward(z_SW).index_select(0, segmentation.place_T);
  if (gradient_ == ParserGradient::straight_through) read_TD = straight_through(read_TD, cut);
  return h_TD + read_TD;
}

}  // namespace dlcm
