#include "dlcm/infer/loaded_model.h"

#include "dlcm/infer/evaluation.h"
#include "dlcm/infer/parameters_io.h"
#include "dlcm/io/checkpoint_store.h"
#include "dlcm/util/error.h"

#include <algorithm>

namespace dlcm {
namespace {

constexpr size_t kQuantiles = 101;

std::vector<double> read_quantiles(const nlohmann::json& trainer, const std::string& where) {
  if (!trainer.contains("boundary_quantiles") || trainer["boundary_quantiles"].empty()) return {};
  std::vector<double> quantiles;
  for (const auto& value : trainer["boundary_quantiles"]) {
    if (value.is_number()) quantiles.push_back(value.get<double>());
  }
  if (quantiles.size() != kQuantiles || !std::is_sorted(quantiles.begin(), quantiles.end())) {
    throw Error("expected {} rising numbers as boundary_quantiles in {}, found others: use another checkpoint",
                kQuantiles, where);
  }
  return quantiles;
}

void require_learned_parser(const LoadedModel& model, std::string_view option) {
  if (!model.has_concepts()) {
    throw Error("{} asks for concepts, but {} is a llama model, which has none: leave the option out", option,
                model.path);
  }
  if (model.config.parser.rule != BoundaryRule::learned) {
    throw Error("{} needs a learned parser, but {} places boundaries by the rule \"{}\": leave the option out", option,
                model.path, name_of(model.config.parser.rule));
  }
}

}  // namespace

LoadedModel load_model(const std::string& path) {
  LoadedModel loaded;
  loaded.path = find_checkpoint(path);
  const auto checkpoint = load_checkpoint(loaded.path, /*with_optimizer=*/false);
  const std::string trainer = loaded.path + "/trainer.json";
  loaded.config = parse_config(checkpoint.config_toml, loaded.path + "/config.toml");
  loaded.tokenizer = tokenizer_from_serialized(checkpoint.tokenizer, loaded.path + "/tokenizer");
  loaded.step = checkpoint.step;
  const auto tokens = checkpoint.trainer.find("tokens");
  if (tokens != checkpoint.trainer.end() && tokens->is_number_integer()) loaded.tokens_seen = tokens->get<int64_t>();
  loaded.boundary_quantiles = read_quantiles(checkpoint.trainer, trainer);
  if (loaded.tokenizer->vocabulary() > loaded.config.model.vocabulary) {
    throw Error(
        "expected a tokenizer of at most {} ids in {}, found {}: use the tokenizer that the model was trained with",
        loaded.config.model.vocabulary, loaded.path, loaded.tokenizer->vocabulary());
  }
  loaded.model = make_model(loaded.config);
  load_parameters(*loaded.model, checkpoint.model, loaded.path + "/model.safetensors");
  loaded.model->eval();
  return loaded;
}

double threshold_for(const LoadedModel& model, const ThresholdRequest& request) {
  if (request.threshold && request.ratio) throw Error("expected --threshold or --ratio, found both: leave one out");
  if (request.threshold) {
    require_learned_parser(model, "--threshold");
    if (!(*request.threshold >= 0.0 && *request.threshold <= 1.0)) {
      throw Error("expected --threshold from 0 to 1, found {}", *request.threshold);
    }
    return *request.threshold;
  }
  if (!request.ratio) return model.threshold();
  require_learned_parser(model, "--ratio");
  if (!(*request.ratio >= 1.0))
    throw Error("expected --ratio of at least 1 token per concept, found {}", *request.ratio);
  if (model.boundary_quantiles.empty()) {
    throw Error(
        "--ratio needs the quantiles of p that a validation stores, but {} has none: use --threshold, or train "
        "on with validation data",
        model.path);
  }
  return quantile_of_sorted(model.boundary_quantiles, 1.0 - 1.0 / *request.ratio);
}

}  // namespace dlcm
