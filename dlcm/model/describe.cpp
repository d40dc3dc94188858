// Renders the counts of flops.h.
#include "dlcm/model/describe.h"

#include "dlcm/model/flops.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <utility>
#include <vector>

namespace dlcm {
namespace {

struct Component {
  std::string_view name;
  int64_t parameters;
  double flops;
};

struct Description {
  ParameterCount parameters;
  Flops forward;  // per token
  TrainingMemory memory;
  double touched = 0.0;
  double cache_values = 0.0;

  explicit Description(const Config& config)
      : parameters(count_parameters(config)),
        forward(expected_flops_per_token(config)),
        memory(training_memory(parameters)),
        touched(touched_parameters(parameters, config.parser.ratio)),
        cache_values(cache_values_per_token(config, config.parser.ratio)) {}

  double cache_bytes() const { return cache_values * sizeof(float); }
  double training_flops() const { return kTrainingFlopsPerForward * forward.total(); }
  std::vector<Component> components() const {
    return {{"embedding", parameters.embedding, 0.0},
            {"encoder", parameters.encoder, forward.encoder},
            {"parser", parameters.parser, forward.parser},
            {"pooling", parameters.pooling, forward.pooling},
            {"backbone", parameters.backbone, forward.backbone},
            {"concept_residual", parameters.concept_residual, forward.concept_residual},
            {"cross_attention", parameters.cross_attention_token + parameters.cross_attention_concept,
             forward.cross_attention},
            {"decoder", parameters.decoder, forward.decoder},
            {"head", parameters.head, forward.head}};
  }
};

// Four digits, a power of a thousand and a unit: "1.302 G", "208 B".
std::string rounded(double value, std::string_view unit = "") {
  constexpr std::array<std::string_view, 6> kPrefixes{"", "k", "M", "G", "T", "P"};
  size_t power = 0;
  while (value >= 999.95 && power + 1 < kPrefixes.size()) {
    value /= 1000.0;
    ++power;
  }
  const auto suffix = fmt::format("{}{}", kPrefixes[power], unit);
  return fmt::format("{:.4g}{}{}", value, suffix.empty() ? "" : " ", suffix);
}

std::string shape(const ModelConfig& model) {
  const auto& token = model.token;
  if (model.kind == ModelKind::llama) {
    return fmt::format("llama: {} layers of width {}, vocabulary {}", token.layers, token.width, model.vocabulary);
  }
  return fmt::format("dlcm: {} + {} token layers of width {}, {} concept layers of width {}, vocabulary {}",
                     token.encoder_layers, token.decoder_layers, token.width, model.concepts.layers,
                     model.concepts.width, model.vocabulary);
}

}  // namespace

std::string description_table(const Config& config, std::string_view name) {
  const Description description(config);
  const bool is_llama = config.model.kind == ModelKind::llama;
  auto text = fmt::format("{}\n{}\n", name, shape(config.model));
  text += is_llama ? fmt::format("at a context of {} tokens\n\n", config.train.context)
                   : fmt::format("at a context of {} tokens and {} tokens per concept\n\n", config.train.context,
                                 config.parser.ratio);
  text += fmt::format("{:<24}{:>12}{:>24}\n", "", "parameters", "forward FLOPs per token");
  for (const auto& component : description.components()) {
    if (component.parameters == 0) continue;
    text += fmt::format("{:<24}{:>12}{:>24}\n", component.name, rounded(static_cast<double>(component.parameters)),
                        rounded(component.flops));
  }
  const auto& parameters = description.parameters;
  text += fmt::format("{:<24}{:>12}{:>24}\n\n", "total", rounded(static_cast<double>(parameters.total())),
                      rounded(description.forward.total()));

  std::vector<std::pair<std::string_view, std::string>> facts{
      {"non-embedding", rounded(static_cast<double>(parameters.non_embedding())) + " parameters"}};
  if (!is_llama) {
    facts.emplace_back("P, backbone's share",
                       fmt::format("{:.1f} % of the non-embedding parameters", 100.0 * parameters.backbone_share()));
  }
  facts.emplace_back("touched per token", rounded(description.touched) + " parameters");
  facts.emplace_back("training", rounded(description.training_flops()) + " FLOPs per token");
  facts.emplace_back("cache per token", fmt::format("{} values, {} in fp32", rounded(description.cache_values),
                                                    rounded(description.cache_bytes(), "B")));
  const auto& memory = description.memory;
  facts.emplace_back("training memory", fmt::format("{} weights + {} gradients + {} AdamW = {}, activations apart",
                                                    rounded(static_cast<double>(memory.weights_bytes), "B"),
                                                    rounded(static_cast<double>(memory.gradients_bytes), "B"),
                                                    rounded(static_cast<double>(memory.optimizer_bytes), "B"),
                                                    rounded(static_cast<double>(memory.total_bytes()), "B")));
  for (const auto& [fact, value] : facts) text += fmt::format("{:<24}{}\n", fact, value);
  return text;
}

std::string description_json(const Config& config, std::string_view name) {
  const Description description(config);
  nlohmann::ordered_json parameters;
  nlohmann::ordered_json forward;
  for (const auto& component : description.components()) {
    parameters[std::string(component.name)] = component.parameters;
    forward[std::string(component.name)] = component.flops;
  }
  parameters["total"] = description.parameters.total();
  parameters["non_embedding"] = description.parameters.non_embedding();
  parameters["touched_per_token"] = description.touched;
  forward["total"] = description.forward.total();
  const auto& memory = description.memory;
  const nlohmann::ordered_json object{{"name", name},
                                      {"kind", name_of(config.model.kind)},
                                      {"context", config.train.context},
                                      {"ratio", config.parser.ratio},
                                      {"parameters", parameters},
                                      {"backbone_share", description.parameters.backbone_share()},
                                      {"forward_flops_per_token", forward},
                                      {"training_flops_per_token", description.training_flops()},
                                      {"cache_values_per_token", description.cache_values},
                                      {"cache_bytes_per_token", description.cache_bytes()},
                                      {"training_memory",
                                       {{"weights_bytes", memory.weights_bytes},
                                        {"gradients_bytes", memory.gradients_bytes},
                                        {"optimizer_bytes", memory.optimizer_bytes},
                                        {"total_bytes", memory.total_bytes()}}}};
  // A file name may hold bytes that are no UTF-8.
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace dlcm
