// A causal transformer stack over rows that continue several sequences (SPEC section 1, "Blocks"), on packed weights.
#pragma once

#include "dlcm/infer/model_weights.h"
#include "dlcm/infer/rotary_rows.h"
#include "dlcm/infer/row_work.h"
#include "dlcm/kernels/key_value_cache.h"
#include "dlcm/kernels/thread_pool.h"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace dlcm {

// Rows of a stack that continue one sequence.
struct SequenceRows {
  std::vector<KeyValueCache>* caches = nullptr;  // one a layer; the rows' keys and values are appended
  int64_t first = 0, count = 0;                  // rows
  int64_t position = 0;                          // of the first in its sequence
};

class EngineStack {
 public:
  EngineStack(const Config& config, RowWork& work) : config_(config), work_(work) {}

  // Called with a layer's index before it reads x.
  using BeforeLayer = std::function<void(size_t layer)>;

  // x [rows, width], the residual stream, in place. `sequences` cover all rows.
  void run(const StackWeights& weights, std::span<const SequenceRows> sequences, int64_t rows, std::vector<float>& x,
           const BeforeLayer& before_layer = nullptr);

 private:
  void set_angles(const StackConfig& stack, std::span<const SequenceRows> sequences, int64_t rows);
  void attend(const StackConfig& stack, size_t layer, std::span<const SequenceRows> sequences, int64_t rows);

  const Config& config_;
  RowWork& work_;
  RotaryRows angles_;
  std::vector<int64_t> begins_, ends_;  // of the keys that each row sees; no begins without a window
  std::vector<float> normed_, query_key_value_, mixed_, gate_up_, gated_;
};

}  // namespace dlcm
