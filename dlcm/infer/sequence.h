// One text being read: everything that the engine keeps of its ids so far (SPEC section 6), so that the next ones cost
// only themselves.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/kernels/key_value_cache.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace dlcm {

class Sequence {
 public:
  Sequence(const Config& config, CacheFormat format);

  // A sequence of its own that stands where this one does. Both share the blocks of keys and values that are full: a
  // common beginning is read and held once.
  std::unique_ptr<Sequence> fork() const { return std::unique_ptr<Sequence>(new Sequence(*this)); }

  int64_t length() const { return length_; }      // ids read
  int64_t concepts() const { return concepts_; }  // places opened; 0 for llama
  // Of keys and values, shared ones included.
  int64_t cache_bytes() const;

 private:
  friend class EnginePass;
  friend class Engine;

  Sequence(const Sequence&) = default;

  int64_t length_ = 0;
  int64_t concepts_ = 0;
  std::vector<KeyValueCache> encoder_, concept_stack_, decoder_;  // one a layer
  std::vector<KeyValueCache> entropy_;                            // of the entropy rule's model
  std::vector<KeyValueCache> places_;                             // one a cross-attention
  // The replicated reading: log of each closed segment's length; the open place's entry is not read.
  std::vector<float> log_lengths_;
  double next_entropy_ = 0.0;         // nats, of what that model predicts after the last id
  int64_t open_length_ = 0;           // tokens of the open segment
  std::vector<float> previous_;       // q (learned) or h (cosine) of the last token
  std::vector<float> open_sum_;       // of the open segment's normed rows
  std::vector<float> smoothed_;       // the last smoothed place
  std::vector<float> open_residual_;  // of the open place's concept, for the tokens of its segment
};

}  // namespace dlcm
