#include "dlcm/infer/engine_model.h"

#include "dlcm/infer/evaluation.h"
#include "dlcm/infer/exported_model.h"
#include "dlcm/infer/pack_weights.h"
#include "dlcm/infer/parameters_io.h"
#include "dlcm/io/checkpoint_store.h"
#include "dlcm/util/error.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace dlcm {
namespace {

constexpr size_t kQuantiles = 101;

// Zeroed memory aligned as packed matrices are.
std::shared_ptr<std::byte[]> aligned_bytes(size_t bytes) {
  constexpr std::align_val_t kAlignment{kPackedAlignment};
  auto* data = static_cast<std::byte*>(::operator new[](std::max<size_t>(bytes, 1), kAlignment));
  std::memset(data, 0, bytes);
  return {data, [](std::byte* pointer) { ::operator delete[](pointer, kAlignment); }};
}

size_t rounded_up(size_t bytes) { return (bytes + kPackedAlignment - 1) / kPackedAlignment * kPackedAlignment; }

void require_learned_parser(const EngineModel& model, std::string_view option) {
  if (!model.has_concepts()) {
    throw Error("{} asks for concepts, but {} is a llama model, which has none: leave the option out", option,
                model.path);
  }
  if (model.config.parser.rule != BoundaryRule::learned) {
    throw Error("{} needs a learned parser, but {} places boundaries by the rule \"{}\": leave the option out", option,
                model.path, name_of(model.config.parser.rule));
  }
}

EngineModel model_of_checkpoint(const std::string& path) {
  const auto facts = facts_of_checkpoint(path);
  const MappedSafeTensors weights(path + "/model.safetensors");
  auto model =
      pack_model(facts.config, facts.tokenizer, weights.views(), WeightFormat::float32, path + "/model.safetensors");
  model.path = path;
  model.step = facts.step;
  model.tokens_seen = facts.tokens_seen;
  model.boundary_quantiles = facts.boundary_quantiles;
  return model;
}

}  // namespace

std::vector<double> read_quantiles(const nlohmann::json& values, const std::string& where) {
  if (values.empty()) return {};
  std::vector<double> quantiles;
  for (const auto& value : values) {
    if (value.is_number()) quantiles.push_back(value.get<double>());
  }
  if (quantiles.size() != kQuantiles || !std::is_sorted(quantiles.begin(), quantiles.end())) {
    throw Error("expected {} rising numbers as boundary_quantiles in {}, found others: use another copy of the model",
                kQuantiles, where);
  }
  return quantiles;
}

void set_tokenizer(EngineModel& model, std::shared_ptr<const Tokenizer> tokenizer) {
  const auto vocabulary = model.config.model.vocabulary;
  if (tokenizer->vocabulary() > vocabulary) {
    throw Error(
        "expected a tokenizer of at most {} ids in {}, found {}: use the tokenizer that the model was trained with",
        vocabulary, model.path, tokenizer->vocabulary());
  }
  model.tokenizer = std::move(tokenizer);
  if (!model.has_concepts() || model.config.parser.rule != BoundaryRule::whitespace) return;
  model.opens_word = model.tokenizer->opens_word();
  model.opens_word.resize(static_cast<size_t>(vocabulary));
}

void check_parameters(const Config& config, const SafeTensors& parameters, const std::string& where) {
  ModelWeights none;
  std::map<std::string, ExpectedTensor> expected;
  for (const auto& slot : weight_slots(config, none)) {
    for (const auto& parameter : slot.parameters) expected[parameter.name] = {slot.shape_of(parameter), true};
  }
  if (config.model.kind == ModelKind::dlcm && config.parser.rule == BoundaryRule::whitespace) {
    expected["parser.opens_word"] = {{config.model.vocabulary}, false};
  }
  check_tensors(expected, parameters, where);
}

ModelFacts facts_of_checkpoint(const std::string& path) {
  const auto checkpoint = load_checkpoint_facts(path);
  ModelFacts facts;
  facts.config = parse_config(checkpoint.config_toml, path + "/config.toml");
  facts.tokenizer = tokenizer_from_serialized(checkpoint.tokenizer, path + "/tokenizer");
  facts.step = checkpoint.step;
  const auto tokens = checkpoint.trainer.find("tokens");
  if (tokens != checkpoint.trainer.end() && tokens->is_number_integer()) facts.tokens_seen = tokens->get<int64_t>();
  const auto quantiles = checkpoint.trainer.find("boundary_quantiles");
  if (quantiles != checkpoint.trainer.end()) {
    facts.boundary_quantiles = read_quantiles(*quantiles, path + "/trainer.json");
  }
  return facts;
}

EngineModel pack_model(const Config& config, std::shared_ptr<const Tokenizer> tokenizer, const SafeTensors& parameters,
                       WeightFormat format, const std::string& where) {
  EngineModel model;
  model.path = where;
  model.config = config;
  model.format = format;
  set_tokenizer(model, std::move(tokenizer));
  check_parameters(config, parameters, where);
  const auto slots = weight_slots(config, model.weights);
  size_t bytes = 0;
  for (const auto& slot : slots) bytes += rounded_up(stored_bytes(slot, stored_format(slot, format)));
  auto storage = aligned_bytes(bytes);
  ThreadPool threads(ThreadPool::processors());
  const auto source = [&](const std::string& name, const std::vector<int64_t>&) { return parameters.tensors.at(name); };
  auto* place = storage.get();
  for (const auto& slot : slots) {
    const auto own_format = stored_format(slot, format);
    pack_weight(threads, slot, own_format, source, place);
    bind_weight(slot, own_format, place);
    place += rounded_up(stored_bytes(slot, own_format));
  }
  model.weight_bytes = static_cast<int64_t>(bytes);
  model.storage = std::move(storage);
  return model;
}

std::shared_ptr<const EngineModel> load_engine_model(const std::string& path) {
  if (is_exported_model(path)) return std::make_shared<EngineModel>(map_exported_model(path));
  return std::make_shared<EngineModel>(model_of_checkpoint(find_checkpoint(path)));
}

double threshold_for(const EngineModel& model, const ThresholdRequest& request) {
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
