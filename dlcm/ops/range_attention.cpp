// Checks, autograd, the devices, and the dense reference.
#include "dlcm/ops/range_attention.h"

#include "dlcm/ops/range_attention_kernels.h"
#include "dlcm/ops/range_attention_masked.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <cmath>
#include <limits>

namespace dlcm {
namespace {

using attention::GradientPointers;
using attention::Pointers;
using attention::Shape;

Shape check(const RangeAttentionInput& input) {
  const auto& [q, k, v, begin, end, key_bias, last_key_bias] = input;
  TORCH_CHECK(q.dim() == 3 && k.dim() == 3 && v.dim() == 3,
              "range_attention: q, k, v must be [rows, heads, head size]");
  const Shape shape{q.size(0), k.size(0), q.size(1), k.size(1), q.size(2)};
  TORCH_CHECK(k.sizes() == v.sizes(), "range_attention: k is ", k.sizes(), " but v is ", v.sizes());
  TORCH_CHECK(k.size(2) == shape.head_size, "range_attention: head size of q is ", shape.head_size, ", of k ",
              k.size(2));
  TORCH_CHECK(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0, "range_attention: ", shape.kv_heads,
              " key heads do not divide ", shape.heads, " query heads");
  TORCH_CHECK(q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type(),
              "range_attention: q, k and v must have one type");
  for (const auto& bound : {begin, end}) {
    TORCH_CHECK(
        bound.scalar_type() == at::kLong && bound.dim() == 1 && bound.size(0) == shape.queries && bound.is_contiguous(),
        "range_attention: begin and end must be contiguous int64 [", shape.queries, "]");
  }
  const auto* begins = begin.const_data_ptr<int64_t>();
  const auto* ends = end.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < shape.queries; ++t) {
    TORCH_CHECK(begins[t] >= 0 && ends[t] <= shape.keys && begins[t] <= shape.keys && ends[t] >= 0,
                "range_attention: range [", begins[t], ", ", ends[t], ") of query ", t, " leaves the ", shape.keys,
                " keys");
    TORCH_CHECK(t == 0 || (begins[t] >= begins[t - 1] && ends[t] >= ends[t - 1]),
                "range_attention: ranges must not decrease, but query ", t, " has [", begins[t], ", ", ends[t],
                ") after [", begins[t - 1], ", ", ends[t - 1], ")");
  }
  TORCH_CHECK(!key_bias.defined() || (key_bias.dim() == 1 && key_bias.size(0) == shape.keys),
              "range_attention: the key bias must be [", shape.keys, "]");
  TORCH_CHECK(!last_key_bias.defined() || (last_key_bias.dim() == 1 && last_key_bias.size(0) == shape.queries),
              "range_attention: the last-key bias must be [", shape.queries, "]");
  return shape;
}

template <typename T>
Pointers<T> pointers(const Shape& shape, const RangeAttentionInput& input) {
  return {shape,
          input.q_TNH.const_data_ptr<T>(),
          input.k_SGH.const_data_ptr<T>(),
          input.v_SGH.const_data_ptr<T>(),
          input.begin_T.const_data_ptr<int64_t>(),
          input.end_T.const_data_ptr<int64_t>(),
          input.key_bias_S.defined() ? input.key_bias_S.const_data_ptr<T>() : nullptr,
          input.last_key_bias_T.defined() ? input.last_key_bias_T.const_data_ptr<T>() : nullptr};
}

template <typename T>
GradientPointers<T> gradient_pointers(const at::Tensor& out, const at::Tensor& log_sum, const at::Tensor& dout,
                                      const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv) {
  return {out.const_data_ptr<T>(),  log_sum.const_data_ptr<T>(), dout.const_data_ptr<T>(),
          dq.mutable_data_ptr<T>(), dk.mutable_data_ptr<T>(),    dv.mutable_data_ptr<T>()};
}

class RangeAttention : public torch::autograd::Function<RangeAttention> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const at::Tensor& begin, const at::Tensor& end,
                            const std::optional<at::Tensor>& key_bias, const std::optional<at::Tensor>& last_key_bias,
                            bool bfloat16) {
    RangeAttentionInput input{q.contiguous(),
                              k.contiguous(),
                              v.contiguous(),
                              begin,
                              end,
                              key_bias.value_or(at::Tensor()),
                              last_key_bias.value_or(at::Tensor())};
    for (auto* bias : {&input.key_bias_S, &input.last_key_bias_T}) {
      if (bias->defined()) *bias = bias->to(q.scalar_type()).contiguous();
    }
    const auto shape = check(input);
    auto out = at::empty_like(input.q_TNH);
    auto log_sum = at::empty({shape.queries, shape.heads}, q.options());
    if (bfloat16) {
      attention::forward_bfloat16(pointers<float>(shape, input), out.mutable_data_ptr<float>(),
                                  log_sum.mutable_data_ptr<float>());
    } else {
      AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "range_attention", [&] {
        attention::forward(pointers<scalar_t>(shape, input), out.mutable_data_ptr<scalar_t>(),
                           log_sum.mutable_data_ptr<scalar_t>());
      });
    }
    context->saved_data["bfloat16"] = bfloat16;
    context->save_for_backward(
        {input.q_TNH, input.k_SGH, input.v_SGH, begin, end, input.key_bias_S, input.last_key_bias_T, out, log_sum});
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const RangeAttentionInput input{saved[0], saved[1], saved[2], saved[3], saved[4], saved[5], saved[6]};
    const auto shape = check(input);
    const auto dout = gradients[0].contiguous();
    auto dq = at::empty_like(input.q_TNH), dk = at::zeros_like(input.k_SGH), dv = at::zeros_like(input.v_SGH);
    if (context->saved_data["bfloat16"].toBool()) {
      attention::backward_bfloat16(pointers<float>(shape, input),
                                   gradient_pointers<float>(saved[7], saved[8], dout, dq, dk, dv));
    } else {
      AT_DISPATCH_FLOATING_TYPES(dout.scalar_type(), "range_attention_backward", [&] {
        attention::backward(pointers<scalar_t>(shape, input),
                            gradient_pointers<scalar_t>(saved[7], saved[8], dout, dq, dk, dv));
      });
    }
    return {dq, dk, dv, {}, {}, {}, {}, {}};
  }
};

using Optional = std::optional<at::Tensor>;

at::Tensor on_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& begin,
                  const at::Tensor& end, const Optional& key_bias, const Optional& last_key_bias, bool bfloat16) {
  return RangeAttention::apply(q, k, v, begin, end, key_bias, last_key_bias, bfloat16 && q.scalar_type() == at::kFloat);
}

at::Tensor on_cuda(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& begin,
                   const at::Tensor& end, const Optional& key_bias, const Optional& last_key_bias, bool bfloat16) {
  const RangeAttentionInput input{
      q, k, v, begin, end, key_bias.value_or(at::Tensor()), last_key_bias.value_or(at::Tensor())};
  check(input);
  return range_attention_cuda(input, bfloat16 ? ProductPrecision::bfloat16 : ProductPrecision::as_given);
}

}  // namespace

TORCH_LIBRARY(dlcm, library) {
  library.def(
      "range_attention(Tensor q, Tensor k, Tensor v, Tensor begin, Tensor end, Tensor? key_bias, "
      "Tensor? last_key_bias, bool bfloat16) -> Tensor");
}
TORCH_LIBRARY_IMPL(dlcm, CPU, library) { library.impl("range_attention", on_cpu); }
TORCH_LIBRARY_IMPL(dlcm, AutogradCPU, library) { library.impl("range_attention", on_cpu); }
TORCH_LIBRARY_IMPL(dlcm, CUDA, library) { library.impl("range_attention", on_cuda); }
TORCH_LIBRARY_IMPL(dlcm, AutogradCUDA, library) { library.impl("range_attention", on_cuda); }

at::Tensor range_attention(const RangeAttentionInput& input, ProductPrecision precision) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("dlcm::range_attention", "").typed<decltype(on_cpu)>();
  const auto given = [](const at::Tensor& bias) { return bias.defined() ? Optional(bias) : std::nullopt; };
  return op.call(input.q_TNH, input.k_SGH, input.v_SGH, input.begin_T, input.end_T, given(input.key_bias_S),
                 given(input.last_key_bias_T), precision == ProductPrecision::bfloat16);
}

at::Tensor range_attention_reference(const RangeAttentionInput& input) {
  const auto shape = check(input);
  const auto key = at::arange(shape.keys, at::kLong);
  const auto visible_TS = key.ge(input.begin_T.unsqueeze(1)).logical_and(key.lt(input.end_T.unsqueeze(1)));
  auto bias_TS = at::zeros({shape.queries, shape.keys}, input.q_TNH.options());
  if (input.key_bias_S.defined()) bias_TS = bias_TS + input.key_bias_S.to(bias_TS.scalar_type());
  if (input.last_key_bias_T.defined()) {
    const auto is_last_TS = key.eq(input.end_T.unsqueeze(1) - 1);
    bias_TS = at::where(is_last_TS, input.last_key_bias_T.to(bias_TS.scalar_type()).unsqueeze(1), bias_TS);
  }
  bias_TS = bias_TS.masked_fill(visible_TS.logical_not(), -std::numeric_limits<double>::infinity());
  const auto k_NSH = input.k_SGH.repeat_interleave(shape.group(), 1).transpose(0, 1);
  const auto v_NSH = input.v_SGH.repeat_interleave(shape.group(), 1).transpose(0, 1);
  const auto scores_NTS =
      at::matmul(input.q_TNH.transpose(0, 1), k_NSH.transpose(1, 2)) / std::sqrt(static_cast<double>(shape.head_size)) +
      bias_TS;
  // A query that sees nothing has only -infinity: its softmax is NaN by arithmetic and zero by contract.
  const auto empty_T11 = visible_TS.any(1).logical_not().view({shape.queries, 1});
  const auto weights_NTS = at::softmax(scores_NTS.masked_fill(empty_T11, 0.0), -1).masked_fill(empty_T11, 0.0);
  return at::matmul(weights_NTS, v_NSH).transpose(0, 1);
}

}  // namespace dlcm
