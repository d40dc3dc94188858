#include "dlcm/nn/activation_checkpoint.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace dlcm {
namespace {

using Run = std::function<at::Tensor(const at::Tensor&)>;

// Carries a function through the values that an autograd function may keep.
struct RunHolder : torch::CustomClassHolder {
  explicit RunHolder(Run given) : run(std::move(given)) {}
  Run run;
};

class Checkpointed : public torch::autograd::Function<Checkpointed> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, at::TensorList parameters,
                            const Run* run) {
    torch::autograd::variable_list saved{x};
    saved.insert(saved.end(), parameters.begin(), parameters.end());
    context->save_for_backward(saved);
    context->saved_data["run"] = c10::IValue::make_capsule(c10::make_intrusive<RunHolder>(*run));
    return (*run)(x);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    auto inputs = context->get_saved_variables();
    const auto holder = c10::static_intrusive_pointer_cast<RunHolder>(context->saved_data["run"].toCapsule());
    const at::AutoGradMode with_gradient(true);
    inputs[0] = inputs[0].detach().requires_grad_();
    auto results = torch::autograd::grad({holder->run(inputs[0])}, inputs, gradients, std::nullopt,
                                         /*create_graph=*/false, /*allow_unused=*/true);
    results.emplace_back();  // of `run`
    return results;
  }
};

}  // namespace

at::Tensor checkpointed(const Run& run, const at::Tensor& x, const std::vector<at::Tensor>& parameters) {
  return at::GradMode::is_enabled() ? Checkpointed::apply(x, at::TensorList(parameters), &run) : run(x);
}

}  // namespace dlcm
