// Counting; the header says what counts.
#include "dlcm/model/flops.h"

#include "dlcm/util/error.h"

#include <algorithm>

namespace dlcm {
namespace {

void require_vocabulary(const Config& config) {
  if (config.model.vocabulary > 0) return;
  throw Error(
      "model.vocabulary is 0, which stands for the size of the tokenizer, but there is none here: set the size with "
      "--set model.vocabulary=N");
}

// Weights of the matrices of one layer: q, k, v, o, gate, up, down.
int64_t layer_matrices(const StackConfig& stack) {
  const int64_t kv_width = stack.kv_heads * stack.head_size();
  return 2 * stack.width * stack.width + 2 * stack.width * kv_width + 3 * stack.width * stack.feed_forward;
}

int64_t stack_parameters(const StackConfig& stack) { return stack.layers * (layer_matrices(stack) + 2 * stack.width); }

// `rows` through every layer; a (query, key) pair costs a product with the key and one with the value per head.
double stack_flops(const StackConfig& stack, double rows, double pairs) {
  const double per_row = 2.0 * static_cast<double>(layer_matrices(stack));
  const double per_pair = 4.0 * static_cast<double>(stack.width);
  return static_cast<double>(stack.layers) * (per_row * rows + per_pair * pairs);
}

double stack_cache_values(const StackConfig& stack) {
  return static_cast<double>(2 * stack.layers * stack.kv_heads * stack.head_size());
}

// Layers of the token stack after the cross-attention, which for llama are all layers.
int64_t decoder_layers(const Config& config) {
  const auto& token = config.model.token;
  return config.model.kind == ModelKind::llama ? token.layers : token.decoder_layers;
}

}  // namespace

int64_t ParameterCount::total() const { return embedding + non_embedding() + head; }

int64_t ParameterCount::non_embedding() const {
  return encoder + parser + pooling + backbone + concept_residual + cross_attention_token + cross_attention_concept +
         decoder;
}

double ParameterCount::backbone_share() const {
  return static_cast<double>(backbone) / static_cast<double>(non_embedding());
}

ParameterCount count_parameters(const Config& config) {
  require_vocabulary(config);
  const auto& token = config.model.token;
  const int64_t width = token.width;
  ParameterCount count;
  count.embedding = config.model.vocabulary * width;
  count.head = count.embedding;
  count.decoder = stack_parameters(token.stack(decoder_layers(config))) + width;
  if (config.model.kind == ModelKind::llama) return count;

  const auto backbone = config.model.concepts.stack();
  const int64_t head_size = token.stack(0).head_size();
  const int64_t kv_width = token.kv_heads * head_size;
  count.encoder = stack_parameters(token.stack(token.encoder_layers));
  if (config.parser.rule == BoundaryRule::learned) count.parser = width + 2 * config.scan_width() * width;
  count.pooling = width + backbone.width * width + backbone.width;
  count.backbone = stack_parameters(backbone) + backbone.width;
  if (config.model.concept_residual) count.concept_residual = width * backbone.width;
  count.cross_attention_token = config.model.cross_attentions() * (width + 2 * width * width + head_size);
  count.cross_attention_concept = config.model.cross_attentions() * (2 * kv_width * backbone.width + head_size);
  return count;
}

double touched_parameters(const ParameterCount& parameters, double ratio) {
  const int64_t by_concept =
      parameters.pooling + parameters.backbone + parameters.concept_residual + parameters.cross_attention_concept;
  const int64_t by_token = parameters.total() - parameters.embedding - by_concept;
  return static_cast<double>(by_token) + static_cast<double>(by_concept) / ratio;
}

Flops Flops::operator/(double divisor) const {
  return {encoder / divisor,          parser / divisor,          pooling / divisor, backbone / divisor,
          concept_residual / divisor, cross_attention / divisor, decoder / divisor, head / divisor};
}

double causal_pairs(const std::vector<int64_t>& offsets, int64_t window) {
  double pairs = 0.0;
  for (size_t i = 1; i < offsets.size(); ++i) {
    const int64_t rows = offsets[i] - offsets[i - 1];
    const auto length = static_cast<double>(rows);
    const auto seen = static_cast<double>(window == 0 ? rows : std::min(rows, window));
    pairs += seen * (seen + 1.0) / 2.0 + (length - seen) * seen;
  }
  return pairs;
}

Work expected_work(int64_t context, double ratio, int64_t window) {
  const auto tokens = static_cast<double>(context);
  const double concepts = std::max(1.0, tokens / ratio);
  // Token t sees the places opened up to it, from 1 to all of them: half of all and one on average.
  return {.tokens = tokens,
          .token_pairs = causal_pairs({0, context}, window),
          .concepts = concepts,
          .concept_pairs = concepts * (concepts + 1.0) / 2.0,
          .cross_pairs = tokens * (concepts + 1.0) / 2.0,
          .entropy_pairs = causal_pairs({0, context})};
}

Flops forward_flops(const Config& config, const Work& work) {
  require_vocabulary(config);
  const auto& token = config.model.token;
  const auto width = static_cast<double>(token.width);
  Flops flops;
  flops.head = 2.0 * static_cast<double>(config.model.vocabulary) * width * work.tokens;
  flops.decoder = stack_flops(token.stack(decoder_layers(config)), work.tokens, work.token_pairs);
  if (config.model.kind == ModelKind::llama) return flops;

  const auto backbone = config.model.concepts.stack();
  const auto concept_width = static_cast<double>(backbone.width);
  const auto kv_width = static_cast<double>(token.kv_heads * token.stack(0).head_size());
  flops.encoder = stack_flops(token.stack(token.encoder_layers), work.tokens, work.token_pairs);
  if (config.parser.rule == BoundaryRule::learned) {
    flops.parser = 4.0 * static_cast<double>(config.scan_width()) * width * work.tokens;
  }
  if (const auto& entropy = config.parser.entropy; config.parser.rule == BoundaryRule::entropy && entropy.width > 0) {
    flops.parser = stack_flops(entropy.stack(), work.tokens, work.entropy_pairs) +
                   2.0 * static_cast<double>(config.model.vocabulary * entropy.width) * work.tokens;
  }
  flops.pooling = 2.0 * concept_width * width * work.concepts;
  flops.backbone = stack_flops(backbone, work.concepts, work.concept_pairs);
  if (config.model.concept_residual) flops.concept_residual = 2.0 * concept_width * width * work.concepts;
  flops.cross_attention = static_cast<double>(config.model.cross_attentions()) *
                          (4.0 * width * width * work.tokens + 4.0 * kv_width * concept_width * work.concepts +
                           4.0 * width * work.cross_pairs);
  return flops;
}

Flops expected_flops_per_token(const Config& config) {
  const auto context = config.train.context;
  return forward_flops(config, expected_work(context, config.parser.ratio, config.model.token.attention_window)) /
         static_cast<double>(context);
}

double cache_values_per_token(const Config& config, double ratio) {
  const auto& token = config.model.token;
  if (config.model.kind == ModelKind::llama) return stack_cache_values(token.stack(token.layers));
  const double cross_attention = stack_cache_values(token.stack(config.model.cross_attentions()));
  return stack_cache_values(token.stack(token.encoder_layers + token.decoder_layers)) +
         (stack_cache_values(config.model.concepts.stack()) + cross_attention) / ratio;
}

TrainingMemory training_memory(const ParameterCount& parameters) {
  const int64_t copy_bytes = parameters.total() * static_cast<int64_t>(sizeof(float));
  return {copy_bytes, copy_bytes, 2 * copy_bytes};
}

}  // namespace dlcm
