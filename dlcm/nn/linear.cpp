#include "dlcm/nn/linear.h"

#include "dlcm/nn/precision.h"

#include <torch/csrc/autograd/custom_function.h>

namespace dlcm {
namespace {

// Products of bfloat16 copies, accumulated in float by the hardware and rounded once on the way out.
class BFloat16Linear : public torch::autograd::Function<BFloat16Linear> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& weight) {
    const auto x_low = x.to(at::kBFloat16), weight_low = weight.to(at::kBFloat16);
    context->save_for_backward({x_low, weight_low});
    return at::mm(x_low, weight_low.t()).to(x.scalar_type());
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto dy = gradients[0].to(at::kBFloat16);
    const auto type = gradients[0].scalar_type();
    return {at::mm(dy, saved[1]).to(type), at::mm(dy.t(), saved[0]).to(type)};
  }
};

}  // namespace

at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight) {
  TORCH_CHECK(x.dim() == 2 && x.size(1) == weight.size(1), "linear: x is ", x.sizes(), ", weight ", weight.sizes());
  if (MatrixPrecision::is_bfloat16() && x.scalar_type() == at::kFloat) return BFloat16Linear::apply(x, weight);
  return at::mm(x, weight.t());
}

}  // namespace dlcm
