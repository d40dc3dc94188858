#include "dlcm/ops/segment_mean.h"

#include "dlcm/ops/row_kernels.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

namespace dlcm {
namespace {

void check(const at::Tensor& h_TD, const at::Tensor& begin_K, const at::Tensor& end_K) {
  TORCH_CHECK(h_TD.dim() == 2, "segment_mean: expected h [T, D], found ", h_TD.sizes());
  TORCH_CHECK(begin_K.scalar_type() == at::kLong && end_K.scalar_type() == at::kLong && begin_K.dim() == 1 &&
                  begin_K.sizes() == end_K.sizes() && begin_K.is_contiguous() && end_K.is_contiguous(),
              "segment_mean: begin and end must be contiguous int64 [K]");
  const auto* begin = begin_K.const_data_ptr<int64_t>();
  const auto* end = end_K.const_data_ptr<int64_t>();
  int64_t previous_end = 0;
  for (int64_t k = 0; k < begin_K.size(0); ++k) {
    TORCH_CHECK(begin[k] >= previous_end && end[k] > begin[k] && end[k] <= h_TD.size(0), "segment_mean: segment ", k,
                " is [", begin[k], ", ", end[k], ") of ", h_TD.size(0), " rows after one that ends at ", previous_end);
    previous_end = end[k];
  }
}

class SegmentMean : public torch::autograd::Function<SegmentMean> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& h_in, const at::Tensor& begin_K,
                            const at::Tensor& end_K) {
    const auto h = h_in.contiguous();
    const int64_t size = h.size(1), segments = begin_K.size(0);
    auto mean = at::zeros({segments, size}, h.options());
    AT_DISPATCH_FLOATING_TYPES(h.scalar_type(), "segment_mean", [&] {
      const auto* source = h.const_data_ptr<scalar_t>();
      const auto* begin = begin_K.const_data_ptr<int64_t>();
      const auto* end = end_K.const_data_ptr<int64_t>();
      auto* target = mean.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, segments, 16, [&](int64_t first, int64_t last) {
        for (int64_t k = first; k < last; ++k) {
          const auto share = scalar_t(1) / static_cast<scalar_t>(end[k] - begin[k]);
          for (int64_t t = begin[k]; t < end[k]; ++t) rows::add_scaled(target + k * size, source + t * size, size, share);
        }
      });
    });
    context->save_for_backward({begin_K, end_K});
    context->saved_data["rows"] = h.size(0);
    return mean;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto dmean = gradients[0].contiguous();
    const int64_t size = dmean.size(1), segments = dmean.size(0);
    auto dh = at::zeros({context->saved_data["rows"].toInt(), size}, dmean.options());
    AT_DISPATCH_FLOATING_TYPES(dmean.scalar_type(), "segment_mean_backward", [&] {
      const auto* source = dmean.const_data_ptr<scalar_t>();
      const auto* begin = saved[0].const_data_ptr<int64_t>();
      const auto* end = saved[1].const_data_ptr<int64_t>();
      auto* target = dh.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, segments, 16, [&](int64_t first, int64_t last) {
        for (int64_t k = first; k < last; ++k) {
          const auto share = scalar_t(1) / static_cast<scalar_t>(end[k] - begin[k]);
          for (int64_t t = begin[k]; t < end[k]; ++t) rows::add_scaled(target + t * size, source + k * size, size, share);
        }
      });
    });
    return {dh, {}, {}};
  }
};

}  // namespace

at::Tensor segment_mean(const at::Tensor& h_TD, const at::Tensor& begin_K, const at::Tensor& end_K) {
  check(h_TD, begin_K, end_K);
  return SegmentMean::apply(h_TD, begin_K, end_K);
}

at::Tensor segment_mean_reference(const at::Tensor& h_TD, const at::Tensor& begin_K, const at::Tensor& end_K) {
  check(h_TD, begin_K, end_K);
  const auto row = at::arange(h_TD.size(0), at::kLong);
  const auto member_KT = row.ge(begin_K.unsqueeze(1)).logical_and(row.lt(end_K.unsqueeze(1))).to(h_TD.scalar_type());
  return at::matmul(member_KT, h_TD) / (end_K - begin_K).to(h_TD.scalar_type()).unsqueeze(1);
}

}  // namespace dlcm
