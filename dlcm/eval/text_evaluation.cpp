#include "dlcm/eval/text_evaluation.h"

#include "dlcm/infer/score.h"
#include "dlcm/tokenizer/text_input.h"
#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <iostream>

namespace dlcm {
namespace {

// Documents are evaluated in groups of about this many tokens, so that a large file is never held whole.
constexpr size_t kGroupTokens = size_t{1} << 18;

nlohmann::ordered_json or_null(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

std::string or_dash(const std::optional<double>& value) { return value ? fmt::format("{:.3f}", *value) : "-"; }

}  // namespace

TextEvaluation evaluate_text(Engine& engine, const std::string& path, double threshold) {
  TextInput input({path}, std::cin);
  TextEvaluation result{.name = path, .threshold = threshold, .evaluation = {}};
  std::vector<std::vector<int32_t>> group;
  size_t group_tokens = 0;
  int64_t bytes = 0;
  const auto& tokenizer = *engine.model().tokenizer;
  const auto evaluate_group = [&] {
    result.evaluation.add(evaluate(engine, group, threshold));
    group.clear();
    group_tokens = 0;
  };
  for (std::string document; input.next(document);) {
    group.push_back(document_ids(tokenizer, document));
    group_tokens += group.back().size();
    bytes += static_cast<int64_t>(document.size());
    if (group_tokens >= kGroupTokens) evaluate_group();
  }
  if (!group.empty()) evaluate_group();
  if (result.evaluation.targets == 0)
    throw Error("expected text in {}, found none: give a file that is not empty", path);
  result.evaluation.bytes = bytes;  // as they stand in the file, also where the tokenizer normalises text
  return result;
}

TextEvaluation total_of(const std::vector<TextEvaluation>& files) {
  TextEvaluation total{.name = "total", .threshold = files.front().threshold, .evaluation = {}};
  for (const auto& file : files) total.evaluation.add(file.evaluation);
  return total;
}

std::string evaluation_table(const std::vector<TextEvaluation>& evaluations) {
  size_t width = 4;
  for (const auto& entry : evaluations) width = std::max(width, entry.name.size());
  auto table = fmt::format("{:<{}}  {:>8} {:>10} {:>9} {:>9} {:>10} {:>11} {:>9}\n", "file", width, "loss",
                           "perplexity", "bits/byte", "tok/conc", "tokens", "bytes", "documents");
  for (const auto& [name, threshold, evaluation] : evaluations) {
    table +=
        fmt::format("{:<{}}  {:>8.4f} {:>10.3f} {:>9.4f} {:>9} {:>10} {:>11} {:>9}\n", name, width, evaluation.loss(),
                    evaluation.perplexity(), evaluation.bits_per_byte(), or_dash(evaluation.ratio()),
                    evaluation.targets, evaluation.bytes, evaluation.documents.size());
  }
  return table;
}

nlohmann::ordered_json to_json(const TextEvaluation& evaluation) {
  const auto& sums = evaluation.evaluation;
  const auto spread = sums.ratio_spread();
  const auto quantile = [&](size_t index) { return spread ? nlohmann::ordered_json((*spread)[index]) : nullptr; };
  nlohmann::ordered_json json;
  json["file"] = valid_utf8(evaluation.name);
  json["loss"] = sums.loss();
  json["perplexity"] = sums.perplexity();
  json["bits_per_byte"] = sums.bits_per_byte();
  json["tokens"] = sums.targets;
  json["bytes"] = sums.bytes;
  json["documents"] = sums.documents.size();
  json["ratio"] = or_null(sums.ratio());
  json["ratio_half"] = or_null(sums.ratio_half());
  json["ratio_p10"] = quantile(0);
  json["ratio_p50"] = quantile(1);
  json["ratio_p90"] = quantile(2);
  json["threshold"] = sums.ratio() ? nlohmann::ordered_json(evaluation.threshold) : nlohmann::ordered_json();
  return json;
}

}  // namespace dlcm
