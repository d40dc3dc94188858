#include "dlcm/ops/swiglu.h"

#include "dlcm/ops/row_kernels.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

namespace dlcm {
namespace {

constexpr int64_t kElementsPerTask = 4096;

class SwiGlu : public torch::autograd::Function<SwiGlu> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& gate_in,
                            const at::Tensor& up_in) {
    const auto gate = gate_in.contiguous(), up = up_in.contiguous();
    auto out = at::empty_like(gate);
    AT_DISPATCH_FLOATING_TYPES(out.scalar_type(), "swiglu", [&] {
      const auto* gates = gate.const_data_ptr<scalar_t>();
      const auto* ups = up.const_data_ptr<scalar_t>();
      auto* target = out.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, out.numel(), kElementsPerTask, [&](int64_t first, int64_t last) {
        rows::swiglu(gates + first, ups + first, target + first, last - first);
      });
    });
    context->save_for_backward({gate, up});
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto dout = gradients[0].contiguous();
    auto dgate = at::empty_like(dout), dup = at::empty_like(dout);
    AT_DISPATCH_FLOATING_TYPES(dout.scalar_type(), "swiglu_backward", [&] {
      const auto* gates = saved[0].const_data_ptr<scalar_t>();
      const auto* ups = saved[1].const_data_ptr<scalar_t>();
      const auto* above = dout.const_data_ptr<scalar_t>();
      auto* gate_target = dgate.mutable_data_ptr<scalar_t>();
      auto* up_target = dup.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, dout.numel(), kElementsPerTask, [&](int64_t first, int64_t last) {
        rows::swiglu_backward(gates + first, ups + first, above + first, gate_target + first, up_target + first,
                              last - first);
      });
    });
    return {dgate, dup};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  TORCH_CHECK(gate.sizes() == up.sizes(), "swiglu: gate is ", gate.sizes(), ", up ", up.sizes());
  return SwiGlu::apply(gate, up);
}

at::Tensor swiglu_reference(const at::Tensor& gate, const at::Tensor& up) { return at::silu(gate) * up; }

}  // namespace dlcm
