// Checks, the dense reference, and a CPU kernel: blocks of queries against the keys that any of them sees, matrix
// products by BLAS, softmax by vectorised rows. The backward pass recomputes the weights from the saved log-sum.
// The one hard idea: ranges are non-decreasing, so a block of queries sees keys [begin of its first, end of its last),
// and a query whose begin is not below every earlier end starts a span that shares no key with the ones before:
// spans (documents) and key heads are the units of parallel work, each summing its own dk and dv in a fixed order.
#include "dlcm/ops/range_attention.h"

#include "dlcm/ops/blas.h"
#include "dlcm/ops/row_kernels.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <limits>
#include <vector>

namespace dlcm {
namespace {

constexpr int64_t kQueryBlock = 64;

struct Shape {
  int64_t queries, keys, heads, kv_heads, head_size;
  int64_t group() const { return heads / kv_heads; }
};

Shape check(const RangeAttentionInput& input) {
  const auto& [q, k, v, begin, end, key_bias, last_key_bias] = input;
  TORCH_CHECK(q.dim() == 3 && k.dim() == 3 && v.dim() == 3, "range_attention: q, k, v must be [rows, heads, head size]");
  const Shape shape{q.size(0), k.size(0), q.size(1), k.size(1), q.size(2)};
  TORCH_CHECK(k.sizes() == v.sizes(), "range_attention: k is ", k.sizes(), " but v is ", v.sizes());
  TORCH_CHECK(k.size(2) == shape.head_size, "range_attention: head size of q is ", shape.head_size, ", of k ", k.size(2));
  TORCH_CHECK(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0, "range_attention: ", shape.kv_heads,
              " key heads do not divide ", shape.heads, " query heads");
  TORCH_CHECK(q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type(),
              "range_attention: q, k and v must have one type");
  for (const auto& bound : {begin, end}) {
    TORCH_CHECK(bound.scalar_type() == at::kLong && bound.dim() == 1 && bound.size(0) == shape.queries &&
                    bound.is_contiguous(),
                "range_attention: begin and end must be contiguous int64 [", shape.queries, "]");
  }
  const auto* begins = begin.const_data_ptr<int64_t>();
  const auto* ends = end.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < shape.queries; ++t) {
    TORCH_CHECK(begins[t] >= 0 && ends[t] <= shape.keys && begins[t] <= shape.keys && ends[t] >= 0,
                "range_attention: range [", begins[t], ", ", ends[t], ") of query ", t, " leaves the ", shape.keys, " keys");
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
struct Pointers {
  Shape shape;
  const T *q, *k, *v;
  const int64_t *begin, *end;
  const T *key_bias, *last_key_bias;  // null where absent
};

// A stretch of queries and the keys that some of them see.
struct Block {
  int64_t query, num_queries, key, num_keys;
};

template <typename T>
Block block_at(const Pointers<T>& data, int64_t query, int64_t span_end) {
  const int64_t count = std::min(kQueryBlock, span_end - query);
  const int64_t key = data.begin[query];
  return {query, count, key, std::max<int64_t>(0, data.end[query + count - 1] - key)};
}

// Scores of one head: scores [num_queries, num_keys] = q k^T / sqrt(H) + bias, valid inside each query's range.
template <typename T>
void block_scores(const Pointers<T>& data, const Block& block, int64_t head, T* scores) {
  const auto& shape = data.shape;
  const T scale = T(1) / std::sqrt(static_cast<T>(shape.head_size));
  const int query_stride = static_cast<int>(shape.heads * shape.head_size);
  const int key_stride = static_cast<int>(shape.kv_heads * shape.head_size);
  gemm(Transpose::yes, Transpose::no, static_cast<int>(block.num_keys), static_cast<int>(block.num_queries),
       static_cast<int>(shape.head_size), scale, data.k + block.key * key_stride + head / shape.group() * shape.head_size,
       key_stride, data.q + block.query * query_stride + head * shape.head_size, query_stride, T(0), scores,
       static_cast<int>(block.num_keys));
  if (data.key_bias == nullptr && data.last_key_bias == nullptr) return;
  for (int64_t i = 0; i < block.num_queries; ++i) {
    const int64_t begin = data.begin[block.query + i], end = data.end[block.query + i];
    if (begin >= end) continue;
    T* row = scores + i * block.num_keys - block.key;  // indexed by key
    const T last = row[end - 1];
    if (data.key_bias != nullptr) {
      for (int64_t s = begin; s < end; ++s) row[s] += data.key_bias[s];
    }
    if (data.last_key_bias != nullptr) row[end - 1] = last + data.last_key_bias[block.query + i];
  }
}

template <typename T>
void forward_block(const Pointers<T>& data, const Block& block, int64_t head, T* scores, T* out, T* log_sum) {
  const auto& shape = data.shape;
  const int query_stride = static_cast<int>(shape.heads * shape.head_size);
  const int key_stride = static_cast<int>(shape.kv_heads * shape.head_size);
  T* out_block = out + block.query * query_stride + head * shape.head_size;
  if (block.num_keys == 0) {
    for (int64_t i = 0; i < block.num_queries; ++i) {
      std::fill_n(out_block + i * query_stride, shape.head_size, T(0));
      log_sum[(block.query + i) * shape.heads + head] = -std::numeric_limits<T>::infinity();
    }
    return;
  }
  block_scores(data, block, head, scores);
  for (int64_t i = 0; i < block.num_queries; ++i) {
    const int64_t t = block.query + i;
    log_sum[t * shape.heads + head] = rows::softmax(scores + i * block.num_keys, block.num_keys,
                                                    data.begin[t] - block.key, data.end[t] - block.key);
  }
  gemm(Transpose::no, Transpose::no, static_cast<int>(shape.head_size), static_cast<int>(block.num_queries),
       static_cast<int>(block.num_keys), T(1), data.v + block.key * key_stride + head / shape.group() * shape.head_size,
       key_stride, scores, static_cast<int>(block.num_keys), T(0), out_block, query_stride);
}

template <typename T>
struct GradientPointers {
  const T *out, *log_sum, *dout;
  T *dq, *dk, *dv;
};

template <typename T>
void backward_block(const Pointers<T>& data, const GradientPointers<T>& gradient, const Block& block, int64_t head,
                    T* weights, T* dscores) {
  const auto& shape = data.shape;
  const int num_keys = static_cast<int>(block.num_keys), num_queries = static_cast<int>(block.num_queries);
  const int head_size = static_cast<int>(shape.head_size);
  const int query_stride = static_cast<int>(shape.heads * shape.head_size);
  const int key_stride = static_cast<int>(shape.kv_heads * shape.head_size);
  const int64_t query_at = block.query * query_stride + head * shape.head_size;
  const int64_t key_at = block.key * key_stride + head / shape.group() * shape.head_size;
  if (num_keys == 0) return;
  block_scores(data, block, head, weights);
  for (int64_t i = 0; i < num_queries; ++i) {
    const int64_t t = block.query + i;
    rows::softmax_again(weights + i * num_keys, num_keys, data.begin[t] - block.key, data.end[t] - block.key,
                        gradient.log_sum[t * shape.heads + head]);
  }
  const T* dout = gradient.dout + query_at;
  gemm(Transpose::yes, Transpose::no, num_keys, num_queries, head_size, T(1), data.v + key_at, key_stride, dout,
       query_stride, T(0), dscores, num_keys);
  const T scale = T(1) / std::sqrt(static_cast<T>(shape.head_size));
  for (int64_t i = 0; i < num_queries; ++i) {
    const T mean = rows::dot(dout + i * query_stride, gradient.out + query_at + i * query_stride, shape.head_size);
    rows::softmax_backward(weights + i * num_keys, dscores + i * num_keys, num_keys, mean, scale);
  }
  gemm(Transpose::no, Transpose::yes, head_size, num_keys, num_queries, T(1), dout, query_stride, weights, num_keys,
       T(1), gradient.dv + key_at, key_stride);
  gemm(Transpose::no, Transpose::no, head_size, num_queries, num_keys, T(1), data.k + key_at, key_stride, dscores,
       num_keys, T(0), gradient.dq + query_at, query_stride);
  gemm(Transpose::no, Transpose::yes, head_size, num_keys, num_queries, T(1), data.q + query_at, query_stride, dscores,
       num_keys, T(1), gradient.dk + key_at, key_stride);
}

// Query spans that share no keys: [spans[i], spans[i + 1]).
template <typename T>
std::vector<int64_t> independent_spans(const Pointers<T>& data) {
  std::vector<int64_t> spans{0};
  for (int64_t t = 1; t < data.shape.queries; ++t) {
    if (data.begin[t] >= data.end[t - 1]) spans.push_back(t);
  }
  spans.push_back(data.shape.queries);
  return spans;
}

template <typename T>
int64_t largest_block(const Pointers<T>& data, const std::vector<int64_t>& spans) {
  int64_t largest = 0;
  for (size_t span = 0; span + 1 < spans.size(); ++span) {
    for (int64_t t = spans[span]; t < spans[span + 1]; t += kQueryBlock) {
      const auto block = block_at(data, t, spans[span + 1]);
      largest = std::max(largest, block.num_queries * block.num_keys);
    }
  }
  return largest;
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
void forward_cpu(const Pointers<T>& data, T* out, T* log_sum) {
  if (data.shape.queries == 0) return;
  const auto spans = independent_spans(data);
  std::vector<Block> blocks;
  int64_t scratch_size = 0;
  for (size_t span = 0; span + 1 < spans.size(); ++span) {
    for (int64_t t = spans[span]; t < spans[span + 1]; t += kQueryBlock) {
      blocks.push_back(block_at(data, t, spans[span + 1]));
      scratch_size = std::max(scratch_size, blocks.back().num_queries * blocks.back().num_keys);
    }
  }
  const int64_t tasks = static_cast<int64_t>(blocks.size()) * data.shape.heads;
  at::parallel_for(0, tasks, 1, [&](int64_t first, int64_t last) {
    std::vector<T> scores(scratch_size);
    for (int64_t task = first; task < last; ++task) {
      forward_block(data, blocks[task / data.shape.heads], task % data.shape.heads, scores.data(), out, log_sum);
    }
  });
}

template <typename T>
void backward_cpu(const Pointers<T>& data, const GradientPointers<T>& gradient) {
  if (data.shape.queries == 0) return;
  const auto spans = independent_spans(data);
  const int64_t scratch_size = largest_block(data, spans);
  const int64_t num_spans = static_cast<int64_t>(spans.size()) - 1;
  at::parallel_for(0, num_spans * data.shape.kv_heads, 1, [&](int64_t first, int64_t last) {
    std::vector<T> weights(scratch_size), dscores(scratch_size);
    for (int64_t task = first; task < last; ++task) {
      const int64_t span = task / data.shape.kv_heads, kv_head = task % data.shape.kv_heads;
      for (int64_t t = spans[span]; t < spans[span + 1]; t += kQueryBlock) {
        const auto block = block_at(data, t, spans[span + 1]);
        for (int64_t member = 0; member < data.shape.group(); ++member) {
          backward_block(data, gradient, block, kv_head * data.shape.group() + member, weights.data(), dscores.data());
        }
      }
    }
  });
}

class RangeAttention : public torch::autograd::Function<RangeAttention> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const at::Tensor& begin, const at::Tensor& end,
                            const std::optional<at::Tensor>& key_bias,
                            const std::optional<at::Tensor>& last_key_bias) {
    RangeAttentionInput input{q.contiguous(), k.contiguous(), v.contiguous(), begin, end,
                              key_bias.value_or(at::Tensor()), last_key_bias.value_or(at::Tensor())};
    for (auto* bias : {&input.key_bias_S, &input.last_key_bias_T}) {
      if (bias->defined()) *bias = bias->to(q.scalar_type()).contiguous();
    }
    const auto shape = check(input);
    auto out = at::empty_like(input.q_TNH);
    auto log_sum = at::empty({shape.queries, shape.heads}, q.options());
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "range_attention", [&] {
      forward_cpu(pointers<scalar_t>(shape, input), out.mutable_data_ptr<scalar_t>(),
                  log_sum.mutable_data_ptr<scalar_t>());
    });
    context->save_for_backward({input.q_TNH, input.k_SGH, input.v_SGH, begin, end, input.key_bias_S,
                                input.last_key_bias_T, out, log_sum});
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const RangeAttentionInput input{saved[0], saved[1], saved[2], saved[3], saved[4], saved[5], saved[6]};
    const auto shape = check(input);
    const auto dout = gradients[0].contiguous();
    auto dq = at::zeros_like(input.q_TNH), dk = at::zeros_like(input.k_SGH), dv = at::zeros_like(input.v_SGH);
    AT_DISPATCH_FLOATING_TYPES(dout.scalar_type(), "range_attention_backward", [&] {
      backward_cpu(pointers<scalar_t>(shape, input),
                   GradientPointers<scalar_t>{saved[7].const_data_ptr<scalar_t>(), saved[8].const_data_ptr<scalar_t>(),
                                              dout.const_data_ptr<scalar_t>(), dq.mutable_data_ptr<scalar_t>(),
                                              dk.mutable_data_ptr<scalar_t>(), dv.mutable_data_ptr<scalar_t>()});
    });
    return {dq, dk, dv, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor range_attention(const RangeAttentionInput& input) {
  const auto given = [](const at::Tensor& bias) { return bias.defined() ? std::optional(bias) : std::nullopt; };
  return RangeAttention::apply(input.q_TNH, input.k_SGH, input.v_SGH, input.begin_T, input.end_T,
                               given(input.key_bias_S), given(input.last_key_bias_T));
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
  const auto scores_NTS = at::matmul(input.q_TNH.transpose(0, 1), k_NSH.transpose(1, 2)) /
                              std::sqrt(static_cast<double>(shape.head_size)) +
                          bias_TS;
  // A query that sees nothing has only -infinity: its softmax is NaN by arithmetic and zero by contract.
  const auto empty_T11 = visible_TS.any(1).logical_not().view({shape.queries, 1});
  const auto weights_NTS = at::softmax(scores_NTS.masked_fill(empty_T11, 0.0), -1).masked_fill(empty_T11, 0.0);
  return at::matmul(weights_NTS, v_NSH).transpose(0, 1);
}

}  // namespace dlcm
