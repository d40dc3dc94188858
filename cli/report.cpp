// dlcm report: one page about one or more training runs.
#include "dlcm/analysis/report.h"
#include "cli/verbs.h"
#include "dlcm/analysis/report_samples.h"
#include "dlcm/io/files.h"
#include "dlcm/sweep/sweep_page.h"
#include "dlcm/util/error.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace dlcm::cli {
namespace {

struct ReportOptions {
  std::vector<std::string> runs;
  std::vector<std::string> samples;
  std::vector<std::string> prompts;
  std::string output;
};

void write_sweep_report(const std::string& sweep, const std::string& output) {
  const RowStore store(sweep);
  OutputFile file(output);
  file.append(chart_page(sweep_page(store.rows(), sweep)));
  file.close();
  fmt::print(stderr, "{} shows {} rows\n", output, store.rows().size());
}

void write_report(const ReportOptions& options) {
  if (std::any_of(options.runs.begin(), options.runs.end(), is_sweep)) {
    if (options.runs.size() > 1) {
      throw Error("{} is a sweep's output: report it alone, or name its runs",
                  *std::find_if(options.runs.begin(), options.runs.end(), is_sweep));
    }
    return write_sweep_report(options.runs.front(), options.output);
  }
  Report report;
  report.runs = read_runs(options.runs);
  for (const auto& path : options.samples) report.texts.push_back(text_of_file(path));
  for (auto& text : built_in_texts()) report.texts.push_back(std::move(text));
  report.prompts = options.prompts.empty() ? built_in_prompts() : options.prompts;
  // Opened before the models run, so that a path that cannot be written costs no waiting.
  OutputFile output(options.output);
  for (const auto& run : report.runs) {
    report.samples.push_back(sample_run(run, report.texts, report.prompts));
    if (const auto& problem = report.samples.back().problem; !problem.empty()) {
      fmt::print(stderr, "no samples of {}: {}\n", run.path, run.problem.empty() ? problem : run.problem);
    }
  }
  output.append(report_page(report));
  output.close();
  fmt::print(stderr, "{} shows {} run{}\n", options.output, report.runs.size(), report.runs.size() == 1 ? "" : "s");
}

}  // namespace

void add_report(CLI::App& app, int& /*status*/) {
  const auto options = std::make_shared<ReportOptions>();
  auto* verb = app.add_subcommand(
      "report", "One HTML page about training runs: curves, ratios, segmentations, comparisons; it loads nothing else");
  verb->add_option("RUN", options->runs,
                   "run directories, as train --output wrote them; or one output directory of a sweep")
      ->required();
  verb->add_option("--output", options->output, "the page, an HTML file")->required();
  verb->add_option(
      "--sample", options->samples,
      fmt::format("text files whose first {} characters are segmented, before the built-in texts", kSampleCharacters));
  verb->add_option("--prompt", options->prompts, "texts to continue in place of the built-in ones");
  verb->callback([options] { write_report(*options); });
}

}  // namespace dlcm::cli
