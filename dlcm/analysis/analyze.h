// `dlcm analyze`: what a trained model's concepts are like, on texts of several kinds (the paper's Table 5 and Figures
// 7 and 8 in kind).
#pragma once

#include "dlcm/analysis/chart_page.h"
#include "dlcm/analysis/concept_statistics.h"
#include "dlcm/analysis/run_record.h"
#include "dlcm/analysis/table.h"
#include "dlcm/infer/engine_model.h"

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dlcm {

// What the tables call all texts together; no text can have this name.
inline constexpr std::string_view kAllTexts = "all";

struct NamedText {
  std::string name;    // of the kind of content
  std::string path;    // as TextInput takes it
  bool apart = false;  // shown, but no part of what is said of all texts
};
// "NAME=FILE", as `option` was given it. Throws Error.
NamedText named_text(const std::string& argument, std::string_view option);

struct AnalysisRequest {
  std::string model;
  ThresholdRequest threshold;  // of the model
  std::optional<std::string> baseline;
  std::vector<std::string> others;  // further models with concepts, for example of other ratios
  std::vector<NamedText> texts;     // at least one of them not apart
  int64_t most_tokens = 200000;     // of each text; the document that goes beyond is cut
};

// One model with concepts on all texts.
struct AnalysedModel {
  std::string name;
  double threshold = 0.5;  // used; means nothing without scores
  double target_ratio = 0.0;
  bool has_scores = true;                  // a learned parser's; other rules only say where concepts begin
  std::vector<ConceptStatistics> by_text;  // in the order of the texts
  ConceptStatistics all;                   // of the texts that are not apart
  std::optional<Agreement> agreement;      // with the first model on them; none for the first
};

struct Analysis {
  std::vector<NamedText> texts;
  std::vector<AnalysedModel> models;  // the model, then the others
  std::optional<double> asked_ratio;  // tokens per concept that the model's threshold was to give
  std::optional<std::string> baseline;
  std::optional<RunRecord> run;  // the model's training, where its metrics are there
  std::string training_problem;  // why they cannot be read; empty where they can, or are not there
};

// Throws Error where texts share a name or one is called "all", a text cannot be read or is empty, a model has no
// concepts or is given twice, or models differ in tokenizer or context so that their tokens cannot be compared; all
// of this before any text is scored, but for what is damaged beyond its first document.
Analysis analyse(const AnalysisRequest& request);

// What analysis_tables() can name.
inline constexpr std::array<std::string_view, 6> kAnalysisTables{
    "tokens_per_concept", "loss_by_place", "boundary_scores", "boundary_places", "agreement", "ratio_over_training"};

// The tables, each with the name of its CSV file (without .csv); only those that have something to say.
std::vector<std::pair<std::string, Table>> analysis_tables(const Analysis& analysis);
ChartPage analysis_page(const Analysis& analysis);
// Tokens per concept for a terminal of 80 columns; long names lose their beginnings.
std::string analysis_text(const Analysis& analysis);
nlohmann::ordered_json to_json(const Analysis& analysis);

// The directory that an analysis is written to. It is made at once, so that a path that cannot be one costs no waiting;
// where nothing is written, what was made for it goes again.
class AnalysisOutput {
 public:
  // Throws Error where `path` is empty or no directory can be there.
  explicit AnalysisOutput(std::string path);
  ~AnalysisOutput();
  AnalysisOutput(const AnalysisOutput&) = delete;
  AnalysisOutput& operator=(const AnalysisOutput&) = delete;

  // Writes index.html and the tables as CSV files, removes tables of an earlier analysis that this one does not have,
  // and returns the number of tables. Throws RuntimeFailure where the disk does not take it.
  size_t write(const Analysis& analysis);

 private:
  std::string path_;
  std::vector<std::filesystem::path> made_;  // deepest first
};

}  // namespace dlcm
