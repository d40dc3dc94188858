#include "dlcm/infer/sequence.h"

namespace dlcm {
namespace {

// One a layer.
std::vector<KeyValueCache> caches_of(const StackConfig& stack, CacheFormat format) {
  return std::vector<KeyValueCache>(static_cast<size_t>(stack.layers),
                                    KeyValueCache({format, stack.kv_heads, stack.head_size()}));
}

int64_t bytes_of(const std::vector<KeyValueCache>& caches) {
  int64_t bytes = 0;
  for (const auto& cache : caches) bytes += cache.bytes();
  return bytes;
}

}  // namespace

Sequence::Sequence(const Config& config, CacheFormat format) {
  const auto& token = config.model.token;
  if (config.model.kind == ModelKind::llama) {
    decoder_ = caches_of(token.stack(token.layers), format);
    return;
  }
  encoder_ = caches_of(token.stack(token.encoder_layers), format);
  concept_stack_ = caches_of(config.model.concepts.stack(), format);
  decoder_ = caches_of(token.stack(token.decoder_layers), format);
  places_ = caches_of(token.stack(config.model.cross_attentions()), format);
  if (config.parser.rule == BoundaryRule::entropy) entropy_ = caches_of(config.parser.entropy.stack(), format);
}

int64_t Sequence::cache_bytes() const {
  return bytes_of(encoder_) + bytes_of(concept_stack_) + bytes_of(decoder_) + bytes_of(entropy_) + bytes_of(places_);
}

}  // namespace dlcm
