#include "dlcm/ops/swiglu.h"

#include "dlcm/ops/row_kernels.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

namespace dlcm {
namespace {

class SwiGlu : public torch::autograd::Function<SwiGlu> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& gate_and_up_in) {
    const auto gate_and_up = gate_and_up_in.contiguous();
    const int64_t rows = gate_and_up.size(0), size = gate_and_up.size(1) / 2;
    auto out = at::empty({rows, size}, gate_and_up.options());
    AT_DISPATCH_FLOATING_TYPES(out.scalar_type(), "swiglu", [&] {
      const auto* source = gate_and_up.const_data_ptr<scalar_t>();
      auto* target = out.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, rows, 16, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; ++row) {
          const auto* gate = source + row * 2 * size;
          rows::swiglu(gate, gate + size, target + row * size, size);
        }
      });
    });
    context->save_for_backward({gate_and_up});
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto gate_and_up = context->get_saved_variables()[0];
    const auto dout = gradients[0].contiguous();
    const int64_t rows = dout.size(0), size = dout.size(1);
    auto below = at::empty_like(gate_and_up);
    AT_DISPATCH_FLOATING_TYPES(dout.scalar_type(), "swiglu_backward", [&] {
      const auto* source = gate_and_up.const_data_ptr<scalar_t>();
      const auto* above = dout.const_data_ptr<scalar_t>();
      auto* target = below.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, rows, 16, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; ++row) {
          const auto* gate = source + row * 2 * size;
          auto* dgate = target + row * 2 * size;
          rows::swiglu_backward(gate, gate + size, above + row * size, dgate, dgate + size, size);
        }
      });
    });
    return {below};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate_and_up) {
  TORCH_CHECK(gate_and_up.dim() == 2 && gate_and_up.size(1) % 2 == 0, "swiglu: expected [T, 2F], found ",
              gate_and_up.sizes());
  return SwiGlu::apply(gate_and_up);
}

at::Tensor swiglu_reference(const at::Tensor& gate_and_up) {
  const auto halves = gate_and_up.chunk(2, -1);
  return at::silu(halves[0]) * halves[1];
}

}  // namespace dlcm
