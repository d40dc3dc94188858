#include "dlcm/ops/cross_entropy.h"

#include "dlcm/ops/row_kernels.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

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

// The rows of a chunk of logits, in parallel.
template <typename T>
void losses_and_gradients(T* logits, int64_t count, int64_t vocabulary, T logit_scale, const int64_t* target, T* loss) {
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T* row = logits + i * vocabulary;
      if (logit_scale != T(1)) rows::scale(row, vocabulary, logit_scale);
      loss[i] = row_loss_and_gradient(row, vocabulary, target[i]);
    }
  });
}

// The same where the chunk is in bfloat16: each row is widened, worked on, and rounded back.
void losses_and_gradients(at::BFloat16* logits, int64_t count, int64_t vocabulary, float logit_scale,
                          const int64_t* target, float* loss) {
  auto* low = reinterpret_cast<uint16_t*>(logits);
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(vocabulary));
    for (int64_t i = begin; i < end; ++i) {
      rows::widen(low + i * vocabulary, row.data(), vocabulary);
      losses_and_gradients(row.data(), 1, vocabulary, logit_scale, target + i, loss + i);
      rows::narrow(row.data(), low + i * vocabulary, vocabulary);
    }
  });
}

class ChunkedCrossEntropy : public torch::autograd::Function<ChunkedCrossEntropy> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& y_in,
                                                const at::Tensor& head_in, const at::Tensor& target_in,
                                                double logit_scale, bool wants_gradient, bool bfloat16) {
    const auto y = y_in.contiguous();
    const auto target = target_in.contiguous();
    const int64_t tokens = y.size(0), vocabulary = head_in.size(0);
    auto nll = at::empty({tokens}, y.options());
    auto dy = wants_gradient ? at::empty_like(y) : at::Tensor();
    auto dhead = wants_gradient ? at::zeros_like(head_in) : at::Tensor();
    const auto type = bfloat16 ? at::kBFloat16 : y.scalar_type();
    const auto factor = y.to(type), head = head_in.to(type);
    const int64_t chunk = chunk_rows(vocabulary);
    auto buffer = at::empty({std::min(chunk, tokens), vocabulary}, factor.options());
    for (int64_t first = 0; first < tokens; first += chunk) {
      const int64_t count = std::min(chunk, tokens - first);
      const auto y_chunk = factor.narrow(0, first, count);
      auto logits = buffer.narrow(0, 0, count);
      at::mm_out(logits, y_chunk, head.t());
      const auto* wanted = target.const_data_ptr<int64_t>() + first;
      if (bfloat16) {
        losses_and_gradients(logits.mutable_data_ptr<at::BFloat16>(), count, vocabulary,
                             static_cast<float>(logit_scale), wanted, nll.mutable_data_ptr<float>() + first);
      } else {
        AT_DISPATCH_FLOATING_TYPES(type, "cross_entropy", [&] {
          losses_and_gradients(logits.mutable_data_ptr<scalar_t>(), count, vocabulary,
                               static_cast<scalar_t>(logit_scale), wanted, nll.mutable_data_ptr<scalar_t>() + first);
        });
      }
      if (!wants_gradient) continue;
      auto dy_chunk = dy.narrow(0, first, count);
      if (bfloat16) {
        dy_chunk.copy_(at::mm(logits, head));
        dhead.add_(at::mm(logits.t(), y_chunk));
      } else {
        at::mm_out(dy_chunk, logits, head);
        dhead.addmm_(logits.t(), y_chunk);
      }
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
    return {saved[0].mul_(gradients[0]), saved[1].mul_(gradients[0]), {}, {}, {}, {}};
  }
};

}  // namespace

CrossEntropy cross_entropy(const at::Tensor& y_TD, const at::Tensor& head_VD, const at::Tensor& target_T,
                           double logit_scale, ProductPrecision precision) {
  check(y_TD, head_VD, target_T);
  const bool bfloat16 = precision == ProductPrecision::bfloat16;
  TORCH_CHECK(!bfloat16 || y_TD.scalar_type() == at::kFloat, "cross_entropy: bfloat16 products are for float tensors");
  // Asked here: inside a Function gradients are always off.
  const bool wants_gradient = at::GradMode::is_enabled() && (y_TD.requires_grad() || head_VD.requires_grad());
  const auto results = ChunkedCrossEntropy::apply(y_TD, head_VD, target_T, logit_scale, wants_gradient, bfloat16);
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
