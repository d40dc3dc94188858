#include "dlcm/infer/engine_stack.h"

#include "dlcm/kernels/cached_attention.h"
#include "dlcm/kernels/row_kernels.h"

#include <cmath>
#include <numeric>

namespace dlcm {

void EngineStack::run(const StackWeights& weights, std::span<const SequenceRows> sequences, int64_t rows,
                      std::vector<float>& x, const BeforeLayer& before_layer) {
  if (weights.layers.empty() || rows == 0) return;
  const auto& stack = weights.config;
  const double epsilon = config_.model.norm_epsilon;
  set_angles(stack, sequences, rows);
  normed_.resize(static_cast<size_t>(rows * stack.width));
  for (size_t index = 0; index < weights.layers.size(); ++index) {
    const auto& layer = weights.layers[index];
    if (before_layer) before_layer(index);
    work_.norm(x.data(), layer.attention_norm, epsilon, rows, normed_.data());
    work_.multiply(layer.query_key_value, normed_.data(), rows, query_key_value_);
    attend(stack, index, sequences, rows);
    work_.multiply_add(layer.output, mixed_.data(), rows, x);

    work_.norm(x.data(), layer.feed_forward_norm, epsilon, rows, normed_.data());
    work_.multiply(layer.gate_up, normed_.data(), rows, gate_up_);
    const int64_t size = stack.feed_forward;
    gated_.resize(static_cast<size_t>(rows * size));
    work_.for_rows(rows, size, [&](int64_t row) {
      const float* gate = gate_up_.data() + row * 2 * size;
      kernels::swiglu(gate, gate + size, gated_.data() + row * size, size);
    });
    work_.multiply_add(layer.down, gated_.data(), rows, x);
  }
}

void EngineStack::set_angles(const StackConfig& stack, std::span<const SequenceRows> sequences, int64_t rows) {
  angles_.reset(rows, stack.head_size(), config_.model.rope_theta);
  for (const auto& sequence : sequences) {
    for (int64_t row = 0; row < sequence.count; ++row) angles_.set(sequence.first + row, sequence.position + row);
  }
}

void EngineStack::attend(const StackConfig& stack, size_t layer, std::span<const SequenceRows> sequences,
                         int64_t rows) {
  const int64_t size = stack.head_size(), stride = (stack.heads + 2 * stack.kv_heads) * size;
  work_.for_rows(rows, stride, [&](int64_t row) {
    angles_.rotate(row, query_key_value_.data() + row * stride, stack.heads + stack.kv_heads);
  });
  mixed_.resize(static_cast<size_t>(rows * stack.width));
  ends_.resize(static_cast<size_t>(rows));
  begins_.resize(static_cast<size_t>(stack.window > 0 ? rows : 0));
  std::vector<AttentionWork> works;
  for (const auto& sequence : sequences) {
    auto& cache = (*sequence.caches)[layer];
    const float* q = query_key_value_.data() + sequence.first * stride;
    const float* k = q + stack.heads * size;
    cache.append(work_.pool(), k, k + stack.kv_heads * size, sequence.count, stride);
    std::iota(ends_.begin() + sequence.first, ends_.begin() + sequence.first + sequence.count, sequence.position + 1);
    for (int64_t row = 0; stack.window > 0 && row < sequence.count; ++row) {
      begins_[static_cast<size_t>(sequence.first + row)] =
          std::max<int64_t>(0, sequence.position + row + 1 - stack.window);
    }
    works.push_back({.cache = &cache,
                     .rows = sequence.count,
                     .queries = q,
                     .query_row = stride,
                     .out = mixed_.data() + sequence.first * stack.width,
                     .out_row = stack.width,
                     .end = ends_.data() + sequence.first,
                     .begin = stack.window > 0 ? begins_.data() + sequence.first : nullptr});
    const int64_t first_seen = stack.window > 0 ? begins_[static_cast<size_t>(sequence.first)] : 0;
    work_.count_cache(cache, sequence.position + sequence.count - first_seen);
  }
  dlcm::attend(work_.pool(), stack.heads, works);
}

}  // namespace dlcm
