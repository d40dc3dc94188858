// `dlcm analyze`: what a trained model's concepts are like, on texts of several kinds (the paper's Table 5 and Figures
// 7 and 8 in kind).
#pragma once

#include "dlcm/analysis/chart_page.h"
#include "dlcm/analysis/concept_statistics.h"
#include "dlcm/analysis/run_record.h"
#include "dlcm/analysis/table.h"
#include "dlcm/infer/engine_model.h"

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dlcm {

struct NamedText {
  std::string name;  // of the kind of content
  std::string path;  // as TextInput takes it
};
// "NAME=FILE". Throws Error.
NamedText named_text(const std::string& argument);

struct AnalysisRequest {
  std::string model;
  ThresholdRequest threshold;  // of the model
  std::optional<std::string> baseline;
  std::vector<std::string> others;  // further models with concepts, for example of other ratios
  std::vector<NamedText> texts;
  int64_t most_tokens = 200000;  // of each text
};

// One model with concepts on all texts.
struct AnalysedModel {
  std::string name;
  double threshold = 0.5;
  double target_ratio = 0.0;
  std::vector<ConceptStatistics> by_text;  // in the order of the texts
  ConceptStatistics all;
  std::optional<Agreement> agreement;  // with the first model; none for the first
};

struct Analysis {
  std::vector<std::string> texts;
  std::vector<AnalysedModel> models;  // the model, then the others
  std::optional<std::string> baseline;
  std::optional<RunRecord> run;  // the model's training, where its metrics are there
};

// Throws Error where a model has no concepts, or models differ in tokenizer or context so that their tokens cannot be
// compared.
Analysis analyse(const AnalysisRequest& request);

// The tables, each with the name of its CSV file (without .csv); only those that have something to say.
std::vector<std::pair<std::string, Table>> analysis_tables(const Analysis& analysis);
ChartPage analysis_page(const Analysis& analysis);
nlohmann::ordered_json to_json(const Analysis& analysis);

}  // namespace dlcm
