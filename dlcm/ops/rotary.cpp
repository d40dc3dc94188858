#include "dlcm/ops/rotary.h"

#include "dlcm/ops/row_kernels.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

namespace dlcm {
namespace {

// visit(projections' row, q's, k's, v's) for each token in parallel; rows of q have N H numbers, of k and v G H.
template <typename T, typename Visit>
void for_tokens(T* projections, T* q, T* k, T* v, int64_t tokens, int64_t query_size, int64_t key_size, Visit visit) {
  at::parallel_for(0, tokens, 64, [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t) {
      visit(t, projections + t * (query_size + 2 * key_size), q + t * query_size, k + t * key_size, v + t * key_size);
    }
  });
}

class Rotary : public torch::autograd::Function<Rotary> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& joint_in,
                                                int64_t heads, int64_t kv_heads, const at::Tensor& cosine,
                                                const at::Tensor& sine) {
    const auto joint = joint_in.contiguous();
    const int64_t tokens = joint.size(0), size = joint.size(1) / (heads + 2 * kv_heads);
    auto q = at::empty({tokens, heads, size}, joint.options());
    auto k = at::empty({tokens, kv_heads, size}, joint.options()), v = at::empty_like(k);
    AT_DISPATCH_FLOATING_TYPES(joint.scalar_type(), "rotary", [&] {
      const auto* cosines = cosine.const_data_ptr<scalar_t>();
      const auto* sines = sine.const_data_ptr<scalar_t>();
      for_tokens(const_cast<scalar_t*>(joint.const_data_ptr<scalar_t>()), q.mutable_data_ptr<scalar_t>(),
                 k.mutable_data_ptr<scalar_t>(), v.mutable_data_ptr<scalar_t>(), tokens, heads * size, kv_heads * size,
                 [&](int64_t t, const scalar_t* source, scalar_t* q_row, scalar_t* k_row, scalar_t* v_row) {
                   const auto* token_cosines = cosines + t * size / 2;
                   const auto* token_sines = sines + t * size / 2;
                   for (int64_t head = 0; head < heads; ++head, source += size, q_row += size) {
                     rows::rotate(source, token_cosines, token_sines, q_row, size / 2);
                   }
                   for (int64_t head = 0; head < kv_heads; ++head, source += size, k_row += size) {
                     rows::rotate(source, token_cosines, token_sines, k_row, size / 2);
                   }
                   std::copy_n(source, kv_heads * size, v_row);
                 });
    });
    context->save_for_backward({cosine, sine});
    context->saved_data["heads"] = heads;
    context->saved_data["kv_heads"] = kv_heads;
    return {q, k, v};
  }

  // The transpose of a rotation is the rotation back.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const int64_t heads = context->saved_data["heads"].toInt(), kv_heads = context->saved_data["kv_heads"].toInt();
    const int64_t tokens = gradients[0].size(0), size = gradients[0].size(2);
    auto dq = gradients[0].contiguous(), dk = gradients[1].contiguous(), dv = gradients[2].contiguous();
    auto joint = at::empty({tokens, (heads + 2 * kv_heads) * size}, dq.options());
    const auto sine = saved[1].neg();
    AT_DISPATCH_FLOATING_TYPES(joint.scalar_type(), "rotary_backward", [&] {
      const auto* cosines = saved[0].const_data_ptr<scalar_t>();
      const auto* sines = sine.const_data_ptr<scalar_t>();
      for_tokens(joint.mutable_data_ptr<scalar_t>(), dq.mutable_data_ptr<scalar_t>(), dk.mutable_data_ptr<scalar_t>(),
                 dv.mutable_data_ptr<scalar_t>(), tokens, heads * size, kv_heads * size,
                 [&](int64_t t, scalar_t* target, const scalar_t* q_row, const scalar_t* k_row, const scalar_t* v_row) {
                   const auto* token_cosines = cosines + t * size / 2;
                   const auto* token_sines = sines + t * size / 2;
                   for (int64_t head = 0; head < heads; ++head, target += size, q_row += size) {
                     rows::rotate(q_row, token_cosines, token_sines, target, size / 2);
                   }
                   for (int64_t head = 0; head < kv_heads; ++head, target += size, k_row += size) {
                     rows::rotate(k_row, token_cosines, token_sines, target, size / 2);
                   }
                   std::copy_n(v_row, kv_heads * size, target);
                 });
    });
    return {joint, {}, {}, {}, {}};
  }
};

void check(const at::Tensor& projections, int64_t heads, int64_t kv_heads, const RotaryAngles& angles) {
  TORCH_CHECK(
      projections.dim() == 2 && heads > 0 && kv_heads > 0 && projections.size(1) % (2 * (heads + 2 * kv_heads)) == 0,
      "rotary: expected [T, (", heads, " + 2 * ", kv_heads, ") * even H], found ", projections.sizes());
  const std::vector<int64_t> expected{projections.size(0), projections.size(1) / (heads + 2 * kv_heads) / 2};
  TORCH_CHECK(angles.cosine_TH.sizes() == expected && angles.sine_TH.sizes() == expected, "rotary: angles are ",
              angles.cosine_TH.sizes(), " for projections ", projections.sizes());
}

}  // namespace

RotaryAngles rotary_angles(const at::Tensor& position_T, int64_t head_size, double theta, at::ScalarType type) {
  const auto exponent = at::arange(0, head_size, 2, at::kDouble) / static_cast<double>(head_size);
  const auto angle = position_T.to(at::kDouble).unsqueeze(1) * at::pow(theta, exponent.neg());
  return {angle.cos().to(type).contiguous(), angle.sin().to(type).contiguous()};
}

QueryKeyValue rotary(const at::Tensor& projections, int64_t heads, int64_t kv_heads, const RotaryAngles& angles) {
  check(projections, heads, kv_heads, angles);
  const auto parts = Rotary::apply(projections, heads, kv_heads, angles.cosine_TH, angles.sine_TH);
  return {parts[0], parts[1], parts[2]};
}

QueryKeyValue rotary_reference(const at::Tensor& projections, int64_t heads, int64_t kv_heads,
                               const RotaryAngles& angles) {
  check(projections, heads, kv_heads, angles);
  const int64_t tokens = projections.size(0), size = projections.size(1) / (heads + 2 * kv_heads);
  const auto parts =
      projections.view({tokens, heads + 2 * kv_heads, size}).split_with_sizes({heads, kv_heads, kv_heads}, 1);
  return {rotated(parts[0], angles), rotated(parts[1], angles), parts[2]};
}

at::Tensor rotated(const at::Tensor& x_TNH, const RotaryAngles& angles) {
  const auto halves = x_TNH.chunk(2, -1);
  const auto cosine = angles.cosine_TH.unsqueeze(1), sine = angles.sine_TH.unsqueeze(1);
  return at::cat({halves[0] * cosine - halves[1] * sine, halves[1] * cosine + halves[0] * sine}, -1);
}

}  // namespace dlcm
