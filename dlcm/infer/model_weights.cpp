#include "dlcm/infer/model_weights.h"

#include "dlcm/model/parser.h"
#include "dlcm/util/error.h"

#include <functional>

namespace dlcm {
namespace {

using Rename = std::function<std::string(const std::string&)>;

class Slots {
 public:
  std::vector<WeightSlot> take() { return std::move(slots_); }

  // What is added from here on has its names put behind `prefix`, and is made from parameters whose names `parameter`
  // gives.
  void set_place(std::string prefix, Rename parameter) {
    prefix_ = std::move(prefix);
    parameter_ = std::move(parameter);
  }

  void matrix(PackedMatrix& target, const std::string& name, std::vector<WeightSlot::Parameter> parameters,
              int64_t inputs) {
    int64_t outputs = 0;
    for (auto& parameter : parameters) {
      outputs += parameter.outputs;
      parameter.name = parameter_(parameter.name);
    }
    slots_.push_back({prefix_ + name, std::move(parameters), outputs, inputs, &target, nullptr});
  }

  void matrix(PackedMatrix& target, const std::string& name, int64_t outputs, int64_t inputs) {
    matrix(target, name, {{name, outputs}}, inputs);
  }

  void vector(std::span<const float>& target, const std::string& name, int64_t size) {
    slots_.push_back({prefix_ + name, {{parameter_(name), 0}}, 0, size, nullptr, &target});
  }

  void stack(StackWeights& target, const std::string& name, const StackConfig& config) {
    target.config = config;
    target.layers.resize(static_cast<size_t>(config.layers));
    const int64_t key_width = config.kv_heads * config.head_size();
    for (size_t index = 0; index < target.layers.size(); ++index) {
      auto& layer = target.layers[index];
      const auto prefix = fmt::format("{}.layers{}.", name, index);
      const auto attention = prefix + "attention.", feed_forward = prefix + "feed_forward.";
      vector(layer.attention_norm, prefix + "attention_norm.gain", config.width);
      matrix(layer.query_key_value, attention + "query_key_value.weight",
             {{attention + "query.weight", config.width},
              {attention + "key.weight", key_width},
              {attention + "value.weight", key_width}},
             config.width);
      matrix(layer.output, attention + "output.weight", config.width, config.width);
      vector(layer.feed_forward_norm, prefix + "feed_forward_norm.gain", config.width);
      matrix(layer.gate_up, feed_forward + "gate_up.weight",
             {{feed_forward + "gate.weight", config.feed_forward}, {feed_forward + "up.weight", config.feed_forward}},
             config.width);
      matrix(layer.down, feed_forward + "down.weight", config.width, config.feed_forward);
    }
  }

 private:
  std::string prefix_;
  Rename parameter_ = [](const std::string& name) { return name; };
  std::vector<WeightSlot> slots_;
};

void add_entropy_model(Slots& slots, const Config& config, TokenModelWeights& weights) {
  const auto stack = config.parser.entropy.stack();
  if (stack.width == 0) {
    throw Error("the entropy rule's model {} has not been read: its shape is taken when a training begins",
                config.parser.entropy.model);
  }
  slots.set_place("parser.entropy.", [](const std::string& name) { return "parser." + entropy_buffer(name); });
  slots.matrix(weights.embedding, "embedding", config.model.vocabulary, stack.width);
  slots.stack(weights.stack, "stack", stack);
  slots.vector(weights.norm, "norm.gain", stack.width);
  slots.matrix(weights.head, "head.weight", config.model.vocabulary, stack.width);
  slots.set_place("", [](const std::string& name) { return name; });
}

}  // namespace

std::vector<int64_t> WeightSlot::shape_of(const Parameter& parameter) const {
  return matrix != nullptr ? std::vector{parameter.outputs, inputs} : std::vector{inputs};
}

std::vector<WeightSlot> weight_slots(const Config& config, ModelWeights& weights) {
  const auto& token = config.model.token;
  const int64_t width = token.width, vocabulary = config.model.vocabulary;
  Slots slots;
  slots.matrix(weights.embedding, "embedding", vocabulary, width);
  if (config.model.kind == ModelKind::llama) {
    slots.stack(weights.decoder, "stack", token.stack(token.layers));
    slots.vector(weights.decoder_norm, "norm.gain", width);
    slots.matrix(weights.head, "head.weight", vocabulary, width);
    return slots.take();
  }
  const int64_t concept_width = config.model.concepts.width;
  const int64_t head_size = token.stack(0).head_size(), key_width = token.kv_heads * head_size;
  slots.stack(weights.encoder, "encoder", token.stack(token.encoder_layers));
  if (config.parser.rule == BoundaryRule::learned) {
    slots.vector(weights.parser_norm, "parser.norm.gain", width);
    slots.matrix(weights.parser_query_key, "parser.query_key.weight",
                 {{"parser.query.weight", config.scan_width()}, {"parser.key.weight", config.scan_width()}}, width);
  }
  if (config.parser.rule == BoundaryRule::entropy) add_entropy_model(slots, config, weights.entropy);
  slots.vector(weights.pooling_norm, "pooling.norm.gain", width);
  slots.vector(weights.start_concept, "pooling.start_concept", concept_width);
  slots.matrix(weights.pooling_up, "pooling.up.weight", concept_width, width);
  slots.stack(weights.concepts, "concepts", config.model.concepts.stack());
  slots.vector(weights.concepts_norm, "concepts_norm.gain", concept_width);
  if (config.model.concept_residual) {
    slots.matrix(weights.concept_residual, "concept_residual.down.weight", width, concept_width);
  }
  weights.cross_attention.resize(static_cast<size_t>(config.model.cross_attentions()));
  for (size_t index = 0; index < weights.cross_attention.size(); ++index) {
    auto& cross = weights.cross_attention[index];
    const auto prefix = ModelConfig::cross_attention_name(static_cast<int64_t>(index)) + ".";
    slots.vector(cross.norm, prefix + "norm.gain", width);
    slots.vector(cross.query_norm, prefix + "query_norm.gain", head_size);
    slots.vector(cross.key_norm, prefix + "key_norm.gain", head_size);
    slots.matrix(cross.query, prefix + "query.weight", width, width);
    slots.matrix(cross.key_value, prefix + "key_value.weight",
                 {{prefix + "key.weight", key_width}, {prefix + "value.weight", key_width}}, concept_width);
    slots.matrix(cross.output, prefix + "output.weight", width, width);
  }
  slots.stack(weights.decoder, "decoder", token.stack(token.decoder_layers));
  slots.vector(weights.decoder_norm, "decoder_norm.gain", width);
  slots.matrix(weights.head, "head.weight", vocabulary, width);
  return slots.take();
}

WeightFormat stored_format(const WeightSlot& slot, WeightFormat wanted) {
  if (wanted == WeightFormat::float32) return wanted;
  if (slot.name == "embedding" || slot.name.starts_with("parser.")) return WeightFormat::bfloat16;
  return wanted;
}

size_t stored_bytes(const WeightSlot& slot, WeightFormat format) {
  if (slot.matrix == nullptr) return static_cast<size_t>(slot.inputs) * sizeof(float);
  return packed_bytes(format, slot.outputs, slot.inputs);
}

void bind_weight(const WeightSlot& slot, WeightFormat format, const std::byte* data) {
  if (slot.matrix != nullptr) {
    *slot.matrix = {format, slot.outputs, slot.inputs, data};
  } else {
    *slot.vector = {reinterpret_cast<const float*>(data), static_cast<size_t>(slot.inputs)};
  }
}

}  // namespace dlcm
