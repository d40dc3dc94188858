#include "dlcm/nn/linear.h"

#include "dlcm/nn/precision.h"

#include <torch/csrc/autograd/custom_function.h>

namespace dlcm {
namespace {

// Below this number of rows, laying the matrices side by side costs more than one product saves.
constexpr int64_t kFewRows = 32;

// The gradient of several matrices that read the same rows comes from one product, as their values do. In bfloat16,
// factors are rounded copies; sums are in float in the hardware and rounded once on the way out.
class LinearProduct : public torch::autograd::Function<LinearProduct> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, at::TensorList weights,
                            bool bfloat16) {
    const auto factor = bfloat16 ? x.to(at::kBFloat16) : x;
    torch::autograd::variable_list saved{factor};
    saved.insert(saved.end(), weights.begin(), weights.end());
    context->save_for_backward(saved);
    context->saved_data["bfloat16"] = bfloat16;
    if (x.size(0) >= kFewRows || weights.size() == 1) {
      return at::mm(factor, side_by_side(weights, bfloat16).t()).to(x.scalar_type());
    }
    std::vector<at::Tensor> products;
    for (const auto& weight : weights) products.push_back(at::mm(factor, side_by_side(weight, bfloat16).t()));
    return at::cat(products, 1).to(x.scalar_type());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const bool bfloat16 = context->saved_data["bfloat16"].toBool();
    const at::TensorList weights(saved.data() + 1, saved.size() - 1);
    const auto type = gradients[0].scalar_type();
    const auto dy = bfloat16 ? gradients[0].to(at::kBFloat16) : gradients[0];
    torch::autograd::variable_list results{at::mm(dy, side_by_side(weights, bfloat16)).to(type)};
    const auto dweight = at::mm(dy.t(), saved[0]).to(type);
    int64_t first = 0;
    for (const auto& weight : weights) {
      results.push_back(dweight.narrow(0, first, weight.size(0)));
      first += weight.size(0);
    }
    results.emplace_back();
    return results;
  }

 private:
  static at::Tensor side_by_side(at::TensorList weights, bool bfloat16) {
    const auto joint = weights.size() == 1 ? weights[0] : at::cat(weights);
    return bfloat16 ? joint.to(at::kBFloat16) : joint;
  }
};

}  // namespace

at::Tensor linear_product(const at::Tensor& x, at::TensorList weights) {
  TORCH_CHECK(!weights.empty(), "linear: no matrix");
  for (const auto& weight : weights) {
    TORCH_CHECK(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1), "linear: x is ", x.sizes(),
                ", weight ", weight.sizes());
  }
  return LinearProduct::apply(x, weights, MatrixPrecision::is_bfloat16() && x.scalar_type() == at::kFloat);
}

}  // namespace dlcm
