#include "dlcm/ops/moving_average.h"

#include "dlcm/ops/row_kernels.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

namespace dlcm {
namespace {

void check(const at::Tensor& z_SW, const at::Tensor& p_S, const at::Tensor& initial_W) {
  TORCH_CHECK(z_SW.dim() == 2 && p_S.dim() == 1 && p_S.size(0) == z_SW.size(0) && initial_W.dim() == 1 &&
                  initial_W.size(0) == z_SW.size(1),
              "moving_average: expected z [S, W], p [S], initial [W], found ", z_SW.sizes(), ", ", p_S.sizes(), ", ",
              initial_W.sizes());
}

// The scan is sequential in k and cheap beside the backbone that made z, so it runs on one thread.
class MovingAverage : public torch::autograd::Function<MovingAverage> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& z_in, const at::Tensor& p_in,
                            const at::Tensor& initial_in) {
    const auto z = z_in.contiguous(), p = p_in.to(z.scalar_type()).contiguous();
    const auto initial = initial_in.to(z.scalar_type()).contiguous();
    const int64_t places = z.size(0), size = z.size(1);
    auto s = at::zeros_like(z);
    AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "moving_average", [&] {
      const auto* source = z.const_data_ptr<scalar_t>();
      const auto* gate = p.const_data_ptr<scalar_t>();
      auto* target = s.mutable_data_ptr<scalar_t>();
      const auto* previous = initial.const_data_ptr<scalar_t>();
      for (int64_t k = 0; k < places; ++k) {
        rows::add_scaled(target + k * size, source + k * size, size, gate[k]);
        rows::add_scaled(target + k * size, previous, size, scalar_t(1) - gate[k]);
        previous = target + k * size;
      }
    });
    context->save_for_backward({z, p, initial, s});
    return s;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &z = saved[0], &p = saved[1], &initial = saved[2], &s = saved[3];
    const auto ds = gradients[0].contiguous();
    const int64_t places = z.size(0), size = z.size(1);
    auto dz = at::zeros_like(z), dp = at::zeros_like(p);
    AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "moving_average_backward", [&] {
      const auto* source = z.const_data_ptr<scalar_t>();
      const auto* gate = p.const_data_ptr<scalar_t>();
      const auto* smoothed = s.const_data_ptr<scalar_t>();
      const auto* above = ds.const_data_ptr<scalar_t>();
      auto* z_gradient = dz.mutable_data_ptr<scalar_t>();
      auto* p_gradient = dp.mutable_data_ptr<scalar_t>();
      std::vector<scalar_t> carried(size, scalar_t(0));
      for (int64_t k = places - 1; k >= 0; --k) {
        rows::add_scaled(carried.data(), above + k * size, size, scalar_t(1));
        const auto* previous = k > 0 ? smoothed + (k - 1) * size : initial.const_data_ptr<scalar_t>();
        rows::add_scaled(z_gradient + k * size, carried.data(), size, gate[k]);
        p_gradient[k] = rows::dot(carried.data(), source + k * size, size) - rows::dot(carried.data(), previous, size);
        for (auto& value : carried) value *= scalar_t(1) - gate[k];
      }
    });
    return {dz, dp, {}};
  }
};

}  // namespace

at::Tensor moving_average(const at::Tensor& z_SW, const at::Tensor& p_S, const at::Tensor& initial_W) {
  check(z_SW, p_S, initial_W);
  return MovingAverage::apply(z_SW, p_S, initial_W);
}

at::Tensor moving_average_reference(const at::Tensor& z_SW, const at::Tensor& p_S, const at::Tensor& initial_W) {
  check(z_SW, p_S, initial_W);
  std::vector<at::Tensor> smoothed;
  auto previous = initial_W;
  for (int64_t k = 0; k < z_SW.size(0); ++k) {
    previous = p_S[k] * z_SW[k] + (1 - p_S[k]) * previous;
    smoothed.push_back(previous);
  }
  return smoothed.empty() ? z_SW : at::stack(smoothed);
}

}  // namespace dlcm
