// A trained model as the verbs use it: what `--model` names, ready for the engine, with its tokenizer, its threshold
// and its calibration.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/infer/model_weights.h"
#include "dlcm/io/safetensors.h"
#include "dlcm/tokenizer/tokenizer.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dlcm {

struct EngineModel {
  std::string path;  // of the checkpoint or of the exported file
  Config config;
  std::shared_ptr<const Tokenizer> tokenizer;
  int64_t step = 0;
  int64_t tokens_seen = 0;  // in training
  // p at quantiles 0.00, 0.01 ... 1.00 of the validation set; empty unless the parser is learned and was validated.
  std::vector<double> boundary_quantiles;
  WeightFormat format = WeightFormat::float32;  // that was asked for; stored_format tells each matrix's own
  ModelWeights weights;
  std::vector<uint8_t> opens_word;      // the whitespace rule's table, one entry per id; empty with other rules
  std::shared_ptr<const void> storage;  // what `weights` point into
  int64_t weight_bytes = 0;

  // The threshold stored with the model.
  double threshold() const { return config.parser.threshold; }
  bool has_concepts() const { return config.model.kind == ModelKind::dlcm; }
};

// `path` is a run directory, which stands for its newest complete checkpoint, a checkpoint, or a file that `dlcm
// export` wrote. A checkpoint's weights are packed in float into memory; an exported file is mapped, and nothing of it
// converted. Throws Error where there is no model, where it is damaged, or where its parts do not fit together.
std::shared_ptr<const EngineModel> load_engine_model(const std::string& path);

// A model from parameters in memory by their names in the trained model, packed in `format`; `where` names their origin
// in messages. The caller fills in what is not given here. Throws Error where names or shapes are not those of the
// configured model, or where the tokenizer has more ids than the model.
EngineModel pack_model(const Config& config, std::shared_ptr<const Tokenizer> tokenizer, const SafeTensors& parameters,
                       WeightFormat format, const std::string& where);

// What is known of a model beside its weights.
struct ModelFacts {
  Config config;
  std::shared_ptr<const Tokenizer> tokenizer;
  int64_t step = 0, tokens_seen = 0;
  std::vector<double> boundary_quantiles;
};

// Of a checkpoint, whose files are verified. Throws Error where one is damaged.
ModelFacts facts_of_checkpoint(const std::string& path);

// What loaders of models share. Throws Error where the tokenizer has more ids than the model.
void set_tokenizer(EngineModel& model, std::shared_ptr<const Tokenizer> tokenizer);
// Stored boundary_quantiles: 101 rising numbers, or none. Throws Error naming `where` they came from.
std::vector<double> read_quantiles(const nlohmann::json& values, const std::string& where);
// Throws Error where names or shapes are not those of the configured model's parameters.
void check_parameters(const Config& config, const SafeTensors& parameters, const std::string& where);

// What a user may ask for in place of the stored threshold; at most one of the two.
struct ThresholdRequest {
  std::optional<double> threshold;  // p at which a token opens a concept, in [0, 1]
  std::optional<double> ratio;      // wanted tokens per concept, at least 1
};

// The threshold to use: the one asked for, or the (1 - 1/ratio) quantile of p that the model stores, or the stored
// threshold. Throws Error where the request is out of range or the model cannot follow it.
double threshold_for(const EngineModel& model, const ThresholdRequest& request);

}  // namespace dlcm
