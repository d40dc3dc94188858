#include "dlcm/ops/swiglu.h"

#include "dlcm/ops/row_kernels.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace dlcm {
namespace {

constexpr int64_t kElementsPerTask = 4096;

// visit(row) in parallel, a few thousand elements at a time.
template <typename Visit>
void for_rows(int64_t rows, int64_t size, const Visit& visit) {
  at::parallel_for(0, rows, std::max<int64_t>(1, kElementsPerTask / std::max<int64_t>(1, size)),
                   [&](int64_t first, int64_t last) {
                     for (int64_t row = first; row < last; ++row) visit(row);
                   });
}

class SwiGlu : public torch::autograd::Function<SwiGlu> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& gate_up_in) {
    const auto gate_up = gate_up_in.contiguous();
    const int64_t rows = gate_up.size(0), size = gate_up.size(1) / 2;
    auto out = at::empty({rows, size}, gate_up.options());
    AT_DISPATCH_FLOATING_TYPES(out.scalar_type(), "swiglu", [&] {
      const auto* source = gate_up.const_data_ptr<scalar_t>();
      auto* target = out.mutable_data_ptr<scalar_t>();
      for_rows(rows, size, [&](int64_t row) {
        const auto* gate = source + 2 * row * size;
        rows::swiglu(gate, gate + size, target + row * size, size);
      });
    });
    context->save_for_backward({gate_up});
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto gate_up = context->get_saved_variables()[0];
    const auto dout = gradients[0].contiguous();
    const int64_t rows = dout.size(0), size = dout.size(1);
    auto dgate_up = at::empty_like(gate_up);
    AT_DISPATCH_FLOATING_TYPES(dout.scalar_type(), "swiglu_backward", [&] {
      const auto* source = gate_up.const_data_ptr<scalar_t>();
      const auto* above = dout.const_data_ptr<scalar_t>();
      auto* target = dgate_up.mutable_data_ptr<scalar_t>();
      for_rows(rows, size, [&](int64_t row) {
        const auto* gate = source + 2 * row * size;
        auto* dgate = target + 2 * row * size;
        rows::swiglu_backward(gate, gate + size, above + row * size, dgate, dgate + size, size);
      });
    });
    return {dgate_up};
  }
};

void check(const at::Tensor& gate_up) {
  TORCH_CHECK(gate_up.dim() == 2 && gate_up.size(1) % 2 == 0, "swiglu: expected [T, 2F], found ", gate_up.sizes());
}

}  // namespace

at::Tensor swiglu(const at::Tensor& gate_up) {
  check(gate_up);
  return SwiGlu::apply(gate_up);
}

at::Tensor swiglu_reference(const at::Tensor& gate_up) {
  check(gate_up);
  const auto halves = gate_up.chunk(2, 1);
  return at::silu(halves[0]) * halves[1];
}

}  // namespace dlcm
