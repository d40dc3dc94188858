#include "dlcm/ops/boundary_scores.h"

#include "dlcm/ops/row_kernels.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

namespace dlcm {
namespace {

constexpr int64_t kTokensPerTask = 64;

void check(const at::Tensor& q_RC, const at::Tensor& row_T, const at::Tensor& k_TC) {
  TORCH_CHECK(
      q_RC.dim() == 2 && k_TC.dim() == 2 && q_RC.size(1) == k_TC.size(1) && q_RC.scalar_type() == k_TC.scalar_type(),
      "boundary_scores: expected q [R, C] and k [T, C] of one type, found ", q_RC.sizes(), " and ", k_TC.sizes());
  TORCH_CHECK(
      row_T.scalar_type() == at::kLong && row_T.dim() == 1 && row_T.size(0) == k_TC.size(0) && row_T.is_contiguous(),
      "boundary_scores: expected a contiguous int64 row per token, found ", row_T.sizes());
  const auto* row = row_T.const_data_ptr<int64_t>();
  std::vector<bool> taken(static_cast<size_t>(q_RC.size(0)));
  for (int64_t t = 0; t < row_T.size(0); ++t) {
    if (row[t] == -1) continue;
    TORCH_CHECK(row[t] >= 0 && row[t] < q_RC.size(0) && !taken[static_cast<size_t>(row[t])], "boundary_scores: token ",
                t, " reads row ", row[t], " of ", q_RC.size(0), ", which is not there or serves another token");
    taken[static_cast<size_t>(row[t])] = true;
  }
}

// cos(a, b) and the inverse lengths, zero for a row of zeros.
template <typename T>
struct Angle {
  T cosine, inverse_a, inverse_b;
  Angle(const T* a, const T* b, int64_t size) {
    const T squares_a = rows::dot(a, a, size), squares_b = rows::dot(b, b, size);
    inverse_a = squares_a > 0 ? 1 / std::sqrt(squares_a) : T(0);
    inverse_b = squares_b > 0 ? 1 / std::sqrt(squares_b) : T(0);
    cosine = rows::dot(a, b, size) * inverse_a * inverse_b;
  }
};

class BoundaryScores : public torch::autograd::Function<BoundaryScores> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q_in, const at::Tensor& row_T,
                            const at::Tensor& k_in) {
    const auto q = q_in.contiguous(), k = k_in.contiguous();
    const int64_t tokens = k.size(0), size = k.size(1);
    auto p = at::empty({tokens}, k.options());
    AT_DISPATCH_FLOATING_TYPES(k.scalar_type(), "boundary_scores", [&] {
      const auto* q_rows = q.const_data_ptr<scalar_t>();
      const auto* k_rows = k.const_data_ptr<scalar_t>();
      const auto* row = row_T.const_data_ptr<int64_t>();
      auto* scores = p.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, tokens, kTokensPerTask, [&](int64_t first, int64_t last) {
        for (int64_t t = first; t < last; ++t) {
          if (row[t] < 0) {
            scores[t] = 1;
            continue;
          }
          const Angle<scalar_t> angle(q_rows + row[t] * size, k_rows + t * size, size);
          scores[t] = std::clamp((1 - angle.cosine) / 2, scalar_t(0), scalar_t(1));
        }
      });
    });
    context->save_for_backward({q, row_T, k});
    return p;
  }

  // d cos / d a = (b / |b| - cos a / |a|) / |a|
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &q = saved[0], &row_T = saved[1], &k = saved[2];
    const int64_t tokens = k.size(0), size = k.size(1);
    const auto dp = gradients[0].contiguous();
    auto dq = at::zeros_like(q), dk = at::zeros_like(k);
    AT_DISPATCH_FLOATING_TYPES(k.scalar_type(), "boundary_scores_backward", [&] {
      const auto* q_rows = q.const_data_ptr<scalar_t>();
      const auto* k_rows = k.const_data_ptr<scalar_t>();
      const auto* row = row_T.const_data_ptr<int64_t>();
      const auto* slope = dp.const_data_ptr<scalar_t>();
      auto* dq_rows = dq.mutable_data_ptr<scalar_t>();
      auto* dk_rows = dk.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, tokens, kTokensPerTask, [&](int64_t first, int64_t last) {
        for (int64_t t = first; t < last; ++t) {
          if (row[t] < 0) continue;
          const auto *a = q_rows + row[t] * size, *b = k_rows + t * size;
          const Angle<scalar_t> angle(a, b, size);
          const scalar_t dcosine = -slope[t] / 2;
          const scalar_t across = dcosine * angle.inverse_a * angle.inverse_b;
          rows::add_scaled(dq_rows + row[t] * size, b, size, across);
          rows::add_scaled(dq_rows + row[t] * size, a, size,
                           -dcosine * angle.cosine * angle.inverse_a * angle.inverse_a);
          rows::add_scaled(dk_rows + t * size, a, size, across);
          rows::add_scaled(dk_rows + t * size, b, size, -dcosine * angle.cosine * angle.inverse_b * angle.inverse_b);
        }
      });
    });
    return {dq, {}, dk};
  }
};

}  // namespace

at::Tensor boundary_scores(const at::Tensor& q_RC, const at::Tensor& row_T, const at::Tensor& k_TC) {
  check(q_RC, row_T, k_TC);
  return BoundaryScores::apply(q_RC, row_T, k_TC);
}

at::Tensor boundary_scores_reference(const at::Tensor& q_RC, const at::Tensor& row_T, const at::Tensor& k_TC) {
  check(q_RC, row_T, k_TC);
  const auto is_first_T = row_T.eq(-1);
  const auto cosine_T = at::cosine_similarity(q_RC.index_select(0, row_T.clamp_min(0)), k_TC, -1, 1e-12);
  return ((1 - cosine_T) / 2).clamp(0.0, 1.0).masked_fill(is_first_T, 1.0);
}

}  // namespace dlcm
