#include "dlcm/ops/rms_norm.h"

#include "dlcm/ops/row_kernels.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

namespace dlcm {
namespace {

// The gain's gradient is summed per stretch of rows, then over stretches in order: the same for any thread count.
constexpr int64_t kRowsPerPartialSum = 256;

class RmsNorm : public torch::autograd::Function<RmsNorm> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x_in,
                            const at::Tensor& gain_in, double epsilon) {
    const auto x = x_in.contiguous(), gain = gain_in.contiguous();
    const int64_t size = x.size(-1), rows = x.numel() / size;
    auto y = at::empty_like(x);
    auto inverse_rms = at::empty({rows}, x.options());
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm", [&] {
      const auto* source = x.const_data_ptr<scalar_t>();
      const auto* gains = gain.const_data_ptr<scalar_t>();
      auto* target = y.mutable_data_ptr<scalar_t>();
      auto* inverse = inverse_rms.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, rows, 32, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; ++row) {
          inverse[row] = rows::rms_norm(source + row * size, gains, target + row * size, size,
                                        static_cast<scalar_t>(epsilon));
        }
      });
    });
    context->save_for_backward({x, gain, inverse_rms});
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &gain = saved[1], &inverse_rms = saved[2];
    const auto dy = gradients[0].contiguous();
    const int64_t size = x.size(-1), rows = x.numel() / size;
    const int64_t partials = (rows + kRowsPerPartialSum - 1) / kRowsPerPartialSum;
    auto dx = at::empty_like(x);
    auto partial_gain = at::zeros({partials, size}, x.options());
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm_backward", [&] {
      const auto* source = x.const_data_ptr<scalar_t>();
      const auto* gains = gain.const_data_ptr<scalar_t>();
      const auto* inverse = inverse_rms.const_data_ptr<scalar_t>();
      const auto* above = dy.const_data_ptr<scalar_t>();
      auto* below = dx.mutable_data_ptr<scalar_t>();
      auto* gain_sum = partial_gain.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, partials, 1, [&](int64_t first, int64_t last) {
        for (int64_t partial = first; partial < last; ++partial) {
          const int64_t end = std::min(rows, (partial + 1) * kRowsPerPartialSum);
          for (int64_t row = partial * kRowsPerPartialSum; row < end; ++row) {
            rows::rms_norm_backward(source + row * size, gains, above + row * size, inverse[row], below + row * size,
                                    gain_sum + partial * size, size);
          }
        }
      });
    });
    return {dx, partial_gain.sum(0), {}};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double epsilon) {
  TORCH_CHECK(x.dim() >= 1 && gain.dim() == 1 && x.size(-1) == gain.size(0), "rms_norm: gain is ", gain.sizes(),
              " for rows of ", x.sizes());
  return RmsNorm::apply(x, gain, epsilon);
}

at::Tensor rms_norm_reference(const at::Tensor& x, const at::Tensor& gain, double epsilon) {
  return x * (x.square().mean(-1, /*keepdim=*/true) + epsilon).rsqrt() * gain;
}

}  // namespace dlcm
