#include "dlcm/ops/rotary.h"

#include "dlcm/ops/row_kernels.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

namespace dlcm {
namespace {

at::Tensor rotated(const at::Tensor& x_in, const at::Tensor& cosine, const at::Tensor& sine) {
  const auto x = x_in.contiguous();
  const int64_t tokens = x.size(0), heads = x.size(1), size = x.size(2);
  auto y = at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rotary", [&] {
    const auto* source = x.const_data_ptr<scalar_t>();
    const auto* cosines = cosine.const_data_ptr<scalar_t>();
    const auto* sines = sine.const_data_ptr<scalar_t>();
    auto* target = y.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, tokens, 64, [&](int64_t first, int64_t last) {
      for (int64_t row = first * heads; row < last * heads; ++row) {
        const int64_t token = row / heads;
        rows::rotate(source + row * size, cosines + token * size / 2, sines + token * size / 2, target + row * size,
                     size / 2);
      }
    });
  });
  return y;
}

class Rotary : public torch::autograd::Function<Rotary> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& cosine,
                            const at::Tensor& sine) {
    context->save_for_backward({cosine, sine});
    return rotated(x, cosine, sine);
  }
  // The transpose of a rotation is the rotation back.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {rotated(gradients[0], saved[0], saved[1].neg()), {}, {}};
  }
};

void check(const at::Tensor& x_TNH, const RotaryAngles& angles) {
  TORCH_CHECK(x_TNH.dim() == 3 && x_TNH.size(2) % 2 == 0, "rotary: expected [T, N, even H], found ", x_TNH.sizes());
  const std::vector<int64_t> expected{x_TNH.size(0), x_TNH.size(2) / 2};
  TORCH_CHECK(angles.cosine_TH.sizes() == expected && angles.sine_TH.sizes() == expected, "rotary: angles are ",
              angles.cosine_TH.sizes(), " for x ", x_TNH.sizes());
}

}  // namespace

RotaryAngles rotary_angles(const at::Tensor& position_T, int64_t head_size, double theta, at::ScalarType type) {
  const auto exponent = at::arange(0, head_size, 2, at::kDouble) / static_cast<double>(head_size);
  const auto angle = position_T.to(at::kDouble).unsqueeze(1) * at::pow(theta, exponent.neg());
  return {angle.cos().to(type).contiguous(), angle.sin().to(type).contiguous()};
}

at::Tensor rotary(const at::Tensor& x_TNH, const RotaryAngles& angles) {
  check(x_TNH, angles);
  return Rotary::apply(x_TNH, angles.cosine_TH, angles.sine_TH);
}

at::Tensor rotary_reference(const at::Tensor& x_TNH, const RotaryAngles& angles) {
  check(x_TNH, angles);
  const auto halves = x_TNH.chunk(2, -1);
  const auto cosine = angles.cosine_TH.unsqueeze(1), sine = angles.sine_TH.unsqueeze(1);
  return at::cat({halves[0] * cosine - halves[1] * sine, halves[1] * cosine + halves[0] * sine}, -1);
}

}  // namespace dlcm
