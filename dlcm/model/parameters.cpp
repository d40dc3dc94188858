#include "dlcm/model/parameters.h"

#include "dlcm/model/dlcm.h"
#include "dlcm/model/language_model.h"
#include "dlcm/model/llama.h"
#include "dlcm/util/error.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

namespace dlcm {
namespace {

bool ends_with(const std::string& name, std::string_view suffix) {
  return name.size() >= suffix.size() && name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0;
}

bool is_residual_output(const std::string& name) {
  return ends_with(name, "attention.output.weight") || ends_with(name, "feed_forward.down.weight");
}

double initial_std(const std::string& name, const Config& config) {
  const auto role = role_of(name);
  const auto& token = config.model.token;
  double std = config.model.init_std;
  if (role == ParameterRole::token_matrix) std /= std::sqrt(config.token_multiplier());
  if (role == ParameterRole::concept_matrix) std /= std::sqrt(config.concept_multiplier());
  // PAPER-GAP: residual outputs are scaled by 1 / sqrt(2 layers) of the width they are in.
  const int64_t layers = role == ParameterRole::concept_matrix
                             ? config.model.concepts.layers
                             : token.layers + token.encoder_layers + token.decoder_layers;
  if (is_residual_output(name)) std /= std::sqrt(2.0 * static_cast<double>(std::max<int64_t>(1, layers)));
  return std;
}

}  // namespace

ParameterRole role_of(const std::string& name) {
  if (name == "embedding") return ParameterRole::embedding;
  if (name == "head.weight") return ParameterRole::head;
  if (ends_with(name, "gain") || ends_with(name, "start_concept")) return ParameterRole::gain;
  // What reads rows as wide as a concept.
  const bool reads_places =
      name.starts_with("cross_attention") && (ends_with(name, ".key.weight") || ends_with(name, ".value.weight"));
  if (name.starts_with("concepts.") || name.starts_with("concept_residual.") || reads_places) {
    return ParameterRole::concept_matrix;
  }
  return ParameterRole::token_matrix;
}

void draw_initial_value(const std::string& name, const Config& config, at::Generator& generator, at::Tensor& value) {
  if (ends_with(name, "gain")) {
    value.fill_(1.0);
  } else if (name == "parser.query.weight" || name == "parser.key.weight") {
    // PAPER-GAP: the parser starts as the identity, so that p is the cosine of neighbouring tokens.
    value.copy_(at::eye(value.size(0), value.size(1), value.options()));
  } else {
    value.normal_(0.0, initial_std(name, config), generator);
  }
}

void initialise(torch::nn::Module& model, const Config& config) {
  at::NoGradGuard no_gradient;
  auto generator = at::detail::createCPUGenerator(static_cast<uint64_t>(config.train.seed));
  for (auto& entry : model.named_parameters()) draw_initial_value(entry.key(), config, generator, entry.value());
}

std::shared_ptr<LanguageModel> make_model(const Config& config) {
  if (config.model.vocabulary == 0) {
    throw Error("model.vocabulary is 0, which stands for the tokenizer's size, but no tokenizer is given here: set it");
  }
  std::shared_ptr<LanguageModel> model;
  if (config.model.kind == ModelKind::dlcm) {
    model = std::make_shared<Dlcm>(config);
  } else {
    model = std::make_shared<Llama>(config);
  }
  initialise(*model, config);
  return model;
}

}  // namespace dlcm
