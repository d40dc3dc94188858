// The weights of a model as the engine multiplies with them: views of packed matrices and of vectors in float, in a
// memory-mapped file or in memory of their own. Matrices that read the same rows are one matrix, their outputs one
// below the other.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/kernels/packed_matrix.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace dlcm {

struct LayerWeights {
  std::span<const float> attention_norm, feed_forward_norm;
  PackedMatrix query_key_value, output;  // [(N + 2G) H, D], [D, D]
  PackedMatrix gate_up, down;            // [2F, D], [D, F]
};

struct StackWeights {
  StackConfig config;
  std::vector<LayerWeights> layers;
};

// A causal language model by itself: the small one of the entropy rule.
struct TokenModelWeights {
  PackedMatrix embedding, head;  // [V, width]
  StackWeights stack;
  std::span<const float> norm;
};

struct CrossAttentionWeights {
  std::span<const float> norm, query_norm, key_norm;
  PackedMatrix query, output;  // [D, D]
  PackedMatrix key_value;      // [2 G H, W]
};

struct ModelWeights {
  PackedMatrix embedding, head;  // [V, D]
  StackWeights encoder;          // without layers for llama
  StackWeights decoder;          // the whole stack of llama
  std::span<const float> decoder_norm;

  // Of dlcm alone.
  std::span<const float> parser_norm;  // of the learned rule alone, as is parser_query_key
  PackedMatrix parser_query_key;       // [2C, D]
  TokenModelWeights entropy;           // of the entropy rule alone
  std::span<const float> pooling_norm, start_concept;
  PackedMatrix pooling_up;  // [W, D]
  StackWeights concepts;
  std::span<const float> concepts_norm;
  PackedMatrix concept_residual;  // [D, W]; with model.concept_residual
  std::vector<CrossAttentionWeights> cross_attention;
};

// One matrix or vector of a model: its name in an exported file, the parameters of the trained model that make it, and
// where the engine looks for it.
struct WeightSlot {
  struct Parameter {
    std::string name;
    int64_t outputs = 0;
  };

  std::string name;
  std::vector<Parameter> parameters;  // in the order of their rows
  int64_t outputs = 0, inputs = 0;    // a vector has no outputs
  PackedMatrix* matrix = nullptr;     // one of the two
  std::span<const float>* vector = nullptr;

  // The shape of `parameter` in the trained model.
  std::vector<int64_t> shape_of(const Parameter& parameter) const;
};

// Every weight of the configured model, in the order in which they are stored; sets the stacks and
// cross-attentions of `weights`, into which the slots point, to their numbers.
std::vector<WeightSlot> weight_slots(const Config& config, ModelWeights& weights);

// The format in which a matrix is stored where `wanted` is asked for: what is read a row at a time (the embedding), or
// is small and decides what all later layers see (the parser), is kept more exact than int8 and int4 would.
WeightFormat stored_format(const WeightSlot& slot, WeightFormat wanted);

// Bytes of a weight whose matrix is stored as `format`.
size_t stored_bytes(const WeightSlot& slot, WeightFormat format);

// Points the model's view at a stored weight.
void bind_weight(const WeightSlot& slot, WeightFormat format, const std::byte* data);

}  // namespace dlcm
