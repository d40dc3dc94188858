// What a configuration costs, counted from its numbers alone: parameters, floating-point operations, cache, memory.
//
// A multiply-add is two operations. Only matrix products and attention count; norms, rotations, SwiGLU's gate, softmax
// and the optimiser do not. The token stacks, the parser, the cross-attention's q and o and the head work at every
// token; W_up, the backbone and the cross-attention's k and v at every concept. Attention counts the keys that are
// really visible. Training is three times the forward pass.
#pragma once

#include "dlcm/config/config.h"

#include <cstdint>
#include <vector>

namespace dlcm {

// Parameters by component. The functions below throw Error where model.vocabulary is 0 (not resolved).
struct ParameterCount {
  int64_t embedding = 0;                // [V, D]
  int64_t encoder = 0;                  // E; 0 for llama
  int64_t parser = 0;                   // norm gain, q and k; 0 unless the rule is learned
  int64_t pooling = 0;                  // norm gain, W_up and the start concept
  int64_t backbone = 0;                 // M and its last norm
  int64_t concept_residual = 0;         // with model.concept_residual: used at every concept
  int64_t cross_attention_token = 0;    // norm gain, q, query norm gain and o: used at every token
  int64_t cross_attention_concept = 0;  // k, key norm gain and v: used at every concept
  int64_t decoder = 0;                  // D, or the whole stack of llama, and the last norm
  int64_t head = 0;                     // [V, D]

  int64_t total() const;
  int64_t non_embedding() const;  // without embedding and head
  double backbone_share() const;  // P, of the non-embedding parameters
};
ParameterCount count_parameters(const Config& config);

// Parameters that one token uses on average at `ratio` tokens per concept: all but the embedding, with W_up, the
// backbone, the concept residual and the cross-attention's k and v divided by the ratio.
double touched_parameters(const ParameterCount& parameters, double ratio);

// Operations by component.
struct Flops {
  double encoder = 0.0;  // 0 for llama
  double parser = 0.0;   // with the model of the entropy rule
  double pooling = 0.0;
  double backbone = 0.0;
  double concept_residual = 0.0;
  double cross_attention = 0.0;
  double decoder = 0.0;  // D, or the whole stack of llama
  double head = 0.0;

  double total() const {
    return encoder + parser + pooling + backbone + concept_residual + cross_attention + decoder + head;
  }
  Flops operator/(double divisor) const;
};

// What a forward pass was given. Pairs are (query, visible key), itself included.
struct Work {
  double tokens = 0.0;
  double token_pairs = 0.0;    // of the token stacks, within documents and model.token.attention_window
  double concepts = 0.0;       // places that the backbone computed; not read for llama
  double concept_pairs = 0.0;  // within documents: n(n+1)/2 for a document of n places
  double cross_pairs = 0.0;    // sum over tokens of their visible places j(t)
  double entropy_pairs = 0.0;  // of the entropy rule's model: token pairs without a window
};

// Pairs of packed documents, given their offsets (Documents::offsets): n(n+1)/2 for a document of n rows that see all
// before them; w for all rows but the first w - 1 where each sees at most a window of w. Work's token_pairs come from
// the tokens' offsets and its concept_pairs from the concepts'.
double causal_pairs(const std::vector<int64_t>& offsets, int64_t window = 0);

// One window of `context` tokens of one document, cut into context / ratio concepts (at least one) of equal length.
Work expected_work(int64_t context, double ratio, int64_t window = 0);

// Operations of one forward pass over `work`.
Flops forward_flops(const Config& config, const Work& work);

// The same per token of a window of train.context tokens at parser.ratio.
Flops expected_flops_per_token(const Config& config);

inline constexpr double kTrainingFlopsPerForward = 3.0;

// Cached keys and values per token at `ratio` tokens per concept: of E and D at every token, of the backbone and the
// cross-attention at every concept.
double cache_values_per_token(const Config& config, double ratio);

// Bytes that training keeps between steps, all fp32: weights, gradients and AdamW's two moments.
struct TrainingMemory {
  int64_t weights_bytes = 0;
  int64_t gradients_bytes = 0;
  int64_t optimizer_bytes = 0;

  int64_t total_bytes() const { return weights_bytes + gradients_bytes + optimizer_bytes; }
};
TrainingMemory training_memory(const ParameterCount& parameters);

}  // namespace dlcm
