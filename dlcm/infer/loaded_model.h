// A trained model as the verbs use it: what `--model` names, with its tokenizer and its threshold.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/model/language_model.h"
#include "dlcm/tokenizer/tokenizer.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dlcm {

struct LoadedModel {
  std::string path;  // of the checkpoint
  Config config;
  std::shared_ptr<LanguageModel> model;  // in float, on the CPU
  std::shared_ptr<const Tokenizer> tokenizer;
  int64_t step = 0;
  int64_t tokens_seen = 0;  // in training
  // p at quantiles 0.00, 0.01 ... 1.00 of the validation set; empty unless the parser is learned and was validated.
  std::vector<double> boundary_quantiles;

  // The threshold stored in the checkpoint.
  double threshold() const { return config.parser.threshold; }
  bool has_concepts() const { return config.model.kind == ModelKind::dlcm; }
};

// `path` is a run directory, which stands for its newest complete checkpoint, or a checkpoint. Throws Error where there
// is none, where it is damaged, or where its parts do not fit together.
LoadedModel load_model(const std::string& path);

// What a user may ask for in place of the stored threshold; at most one of the two.
struct ThresholdRequest {
  std::optional<double> threshold;  // p at which a token opens a concept, in [0, 1]
  std::optional<double> ratio;      // wanted tokens per concept, at least 1
};

// The threshold to use: the one asked for, or the (1 - 1/ratio) quantile of p that the checkpoint stores, or the stored
// threshold. Throws Error where the request is out of range or the model cannot follow it.
double threshold_for(const LoadedModel& model, const ThresholdRequest& request);

}  // namespace dlcm
