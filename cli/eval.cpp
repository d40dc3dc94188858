// dlcm eval: how well a model predicts text files.
#include "cli/model_options.h"
#include "cli/verbs.h"
#include "dlcm/eval/text_evaluation.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <memory>

namespace dlcm::cli {
namespace {

struct EvalOptions : ModelOptions {
  std::vector<std::string> texts;
  bool json = false;
};

void evaluate_texts(const EvalOptions& options) {
  const auto model = load_model(options.model);
  const double threshold = threshold_for(model, options.request);
  std::vector<TextEvaluation> evaluations;
  for (const auto& path : options.texts) evaluations.push_back(evaluate_text(model, path, threshold));
  evaluations.push_back(total_of(evaluations));
  if (!options.json) {
    fmt::print("{}", evaluation_table(evaluations));
    return;
  }
  for (const auto& evaluation : evaluations) fmt::print("{}\n", to_json(evaluation).dump());
}

}  // namespace

void add_eval(CLI::App& app, int& /*status*/) {
  const auto options = std::make_shared<EvalOptions>();
  auto* verb = app.add_subcommand(
      "eval",
      "Loss (nats per token), perplexity, bits per byte and tokens per concept of text files, and of all together.\n"
      "Documents end where `dlcm data build` ends them. <|bos|> is given, every text token is predicted, and\n"
      "<|endoftext|> counts nowhere.");
  add_model_options(*verb, *options);
  verb->add_option("--text", options->texts,
                   "text files, .jsonl files (field \"text\") or folders; - is standard input")
      ->required();
  verb->add_flag("--json", options->json, "one JSON object per file, and one named total at the end");
  verb->callback([options] { evaluate_texts(*options); });
}

}  // namespace dlcm::cli
