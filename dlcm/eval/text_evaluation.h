// `dlcm eval --text`: how well a model predicts text files.
#pragma once

#include "dlcm/infer/engine_evaluation.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace dlcm {

struct TextEvaluation {
  std::string name;  // the file, or "total"
  double threshold = 0.5;
  Evaluation evaluation;
};

// Documents of a text file, a .jsonl file or a folder, read as `dlcm data build` reads them and predicted in rolling
// windows (infer/rolling_windows.h).
// Throws Error where there is no text at `path`.
TextEvaluation evaluate_text(Engine& engine, const std::string& path, double threshold);

// All files as one data set, named "total".
TextEvaluation total_of(const std::vector<TextEvaluation>& files);

// A line per evaluation below a line of headings.
std::string evaluation_table(const std::vector<TextEvaluation>& evaluations);

// One object: file, loss (nats per token), perplexity, bits_per_byte, tokens, bytes, documents, and for models with
// concepts ratio (tokens per concept), ratio_half (at p >= 0.5), ratio_p10, ratio_p50, ratio_p90 (over documents of at
// least 64 tokens) and threshold. What does not apply is null.
nlohmann::ordered_json to_json(const TextEvaluation& evaluation);

}  // namespace dlcm
