#include "dlcm/ops/cross_entropy.h"

#include "dlcm/ops/row_kernels.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace dlcm {
namespace {

constexpr int64_t kLargestChunkElements = int64_t{1} << 26;

int64_t chunk_rows(int64_t vocabulary) { return std::clamp<int64_t>(kLargestChunkElements / vocabulary, 16, 512); }

void check(const at::Tensor& y_TD, const at::Tensor& head_VD, const at::Tensor& target_T) {
  TORCH_CHECK(y_TD.dim() == 2 && head_VD.dim() == 2 && y_TD.size(1) == head_VD.size(1), "cross_entropy: y is ",
              y_TD.sizes(), ", head ", head_VD.sizes());
  TORCH_CHECK(target_T.scalar_type() == at::kLong && target_T.dim() == 1 && target_T.size(0) == y_TD.size(0),
              "cross_entropy: targets must be int64 [", y_TD.size(0), "]");
  if (target_T.numel() == 0) return;
  TORCH_CHECK(target_T.max().item<int64_t>() < head_VD.size(0) && target_T.min().item<int64_t>() >= -1,
              "cross_entropy: a target lies outside the vocabulary of ", head_VD.size(0));
}

// Turns a row of logits into nll and, in place, d nll / d logits.
template <typename T>
T row_loss_and_gradient(T* logits, int64_t vocabulary, int64_t target) {
  if (target < 0) {
    std::fill_n(logits, vocabulary, T(0));
    return T(0);
  }
  const T chosen = logits[target];
  const T log_sum = rows::softmax(logits, vocabulary, 0, vocabulary);
  logits[target] -= T(1);
  return log_sum - chosen;
}

class ChunkedCrossEntropy : public torch::autograd::Function<ChunkedCrossEntropy> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& y_in,
                                                const at::Tensor& head, const at::Tensor& target_in,
                                                double logit_scale, bool wants_gradient) {
    const auto y = y_in.contiguous();
    const auto target = target_in.contiguous();
    const int64_t tokens = y.size(0), vocabulary = head.size(0);
    auto nll = at::empty({tokens}, y.options());
    auto dy = wants_gradient ? at::empty_like(y) : at::Tensor();
    auto dhead = wants_gradient ? at::zeros_like(head) : at::Tensor();
    const int64_t chunk = chunk_rows(vocabulary);
    auto buffer = at::empty({std::min(chunk, tokens), vocabulary}, y.options());
    for (int64_t first = 0; first < tokens; first += chunk) {
      const int64_t count = std::min(chunk, tokens - first);
      const auto y_chunk = y.narrow(0, first, count);
      auto logits = buffer.narrow(0, 0, count);
      at::mm_out(logits, y_chunk, head.t());
      if (logit_scale != 1.0) logits.mul_(logit_scale);
      AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "cross_entropy", [&] {
        auto* row = logits.mutable_data_ptr<scalar_t>();
        auto* loss = nll.mutable_data_ptr<scalar_t>() + first;
        const auto* wanted = target.const_data_ptr<int64_t>() + first;
        at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            loss[i] = row_loss_and_gradient(row + i * vocabulary, vocabulary, wanted[i]);
          }
        });
      });
      if (!wants_gradient) continue;
      auto dy_chunk = dy.narrow(0, first, count);
      at::mm_out(dy_chunk, logits, head);
      dhead.addmm_(logits.t(), y_chunk);
    }
    if (wants_gradient && logit_scale != 1.0) {
      dy.mul_(logit_scale);
      dhead.mul_(logit_scale);
    }
    context->save_for_backward({dy, dhead});
    context->mark_non_differentiable({nll});
    return {nll.sum(), nll};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    // The saved gradients belong to this node alone, so they are scaled in place: no second [V, D] is ever held.
    return {saved[0].mul_(gradients[0]), saved[1].mul_(gradients[0]), {}, {}, {}};
  }
};

}  // namespace

CrossEntropy cross_entropy(const at::Tensor& y_TD, const at::Tensor& head_VD, const at::Tensor& target_T,
                           double logit_scale) {
  check(y_TD, head_VD, target_T);
  // Asked here: inside a Function gradients are always off.
  const bool wants_gradient = at::GradMode::is_enabled() && (y_TD.requires_grad() || head_VD.requires_grad());
  const auto results = ChunkedCrossEntropy::apply(y_TD, head_VD, target_T, logit_scale, wants_gradient);
  return {results[0], results[1]};
}

CrossEntropy cross_entropy_reference(const at::Tensor& y_TD, const at::Tensor& head_VD, const at::Tensor& target_T,
                                     double logit_scale) {
  check(y_TD, head_VD, target_T);
  const auto log_probability = at::log_softmax(at::matmul(y_TD, head_VD.t()) * logit_scale, -1);
  const auto chosen = log_probability.gather(1, target_T.clamp_min(0).unsqueeze(1)).squeeze(1);
  const auto nll = at::where(target_T.ge(0), chosen.neg(), at::zeros_like(chosen));
  return {nll.sum(), nll.detach()};
}

}  // namespace dlcm
