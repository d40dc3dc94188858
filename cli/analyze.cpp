// dlcm analyze: what a model's concepts are like.
#include "dlcm/analysis/analyze.h"
#include "cli/model_options.h"
#include "cli/verbs.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <memory>

namespace dlcm::cli {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 40;  // more than any text has, and sums of them stay in range

struct AnalyzeOptions : ModelOptions {
  AnalysisRequest analysis;
  std::vector<std::string> texts, apart;
  std::string output;
  bool json = false;
};

void analyze(AnalyzeOptions& options) {
  options.analysis.model = options.model;
  options.analysis.threshold = options.request;
  for (const auto& text : options.texts) options.analysis.texts.push_back(named_text(text, "--text"));
  for (const auto& text : options.apart) {
    options.analysis.texts.push_back(named_text(text, "--apart"));
    options.analysis.texts.back().apart = true;
  }
  AnalysisOutput output(options.output);
  const auto analysis = analyse(options.analysis);
  const size_t num_tables = output.write(analysis);
  fmt::print("{}", options.json ? to_json(analysis).dump() + "\n" : analysis_text(analysis));
  fmt::print(stderr, "dlcm: {}/index.html shows it; the numbers are in {} CSV files beside it\n", options.output,
             num_tables);
}

}  // namespace

void add_analyze(CLI::App& app, int& /*status*/) {
  const auto options = std::make_shared<AnalyzeOptions>();
  auto* verb = app.add_subcommand(
      "analyze",
      "What a model's concepts are like: tokens per concept by content, loss by place in the concept, where "
      "concepts begin, scores, agreement between models; a page and CSV files");
  add_model_options(*verb, *options);
  verb->add_option("--baseline", options->analysis.baseline,
                   "a model whose losses on the same tokens stand beside: a llama, or a DLCM as a control");
  verb->add_option("--other", options->analysis.others, "further models with concepts, such as of other ratios");
  verb->add_option("--text", options->texts, "NAME=FILE: texts of one kind of content, as `dlcm data build` takes them")
      ->required();
  verb->add_option("--apart", options->apart,
                   "NAME=FILE: the same for texts that are shown but not counted in \"all\"");
  verb->add_option("--tokens", options->analysis.most_tokens,
                   "of each text at most; the document that goes beyond is cut there")
      ->check(CLI::Range(int64_t{1}, kMostTokens))
      ->capture_default_str();
  verb->add_option("--output", options->output, "directory of index.html and the CSV files")->required();
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options] { analyze(*options); });
}

}  // namespace dlcm::cli
