// dlcm fit: the scaling law of a set of runs.
#include "cli/choice.h"
#include "cli/output_file.h"
#include "cli/verbs.h"
#include "dlcm/io/files.h"
#include "dlcm/scaling/plan.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>

namespace dlcm::cli {
namespace {

struct FitOptions {
  std::vector<std::string> runs;
  std::string loss = "training";
  std::string output, page;
  FitRequest request;
  bool json = false;
};

// A run that counts twice would make the law and the noise of seeds look surer than they are.
void check_named_once(const std::vector<std::string>& runs) {
  std::map<std::filesystem::path, std::string> seen;
  for (const auto& run : runs) {
    const auto directory = std::filesystem::weakly_canonical(std::filesystem::path(run) / "");
    const auto [first, added] = seen.emplace(directory, run);
    if (added) continue;
    throw Error("expected each run once, found {} and {}, which are one: leave one out", first->second, run);
  }
}

void fit(FitOptions& options) {
  check_output_file("--output", options.output);
  check_output_file("--page", options.page);
  check_named_once(options.runs);
  options.request.loss = options.loss == "validation" ? LossKind::validation : LossKind::training;
  std::vector<RunCurve> curves;
  for (const auto& run : options.runs) curves.push_back(read_curve(run, options.request.loss));
  const auto result = fit_curves(curves, options.request);
  write_file_synced(options.output, to_json(result).dump(1) + "\n");
  if (!options.page.empty()) write_file_synced(options.page, chart_page(fit_page(result, curves)));
  auto summary = to_json(result);
  summary.erase("bootstrap");
  fmt::print("{}", options.json ? summary.dump() + "\n" : fit_text(result));
}

}  // namespace

void add_fit(CLI::App& app, int& /*status*/) {
  const auto options = std::make_shared<FitOptions>();
  auto* verb = app.add_subcommand(
      "fit",
      "Fit the scaling law to the loss curves of training runs, with intervals and the error on what was left out");
  verb->add_option("RUN", options->runs, "run directories of DLCMs and of plain transformers")->required();
  verb->add_option("--output", options->output, "the fit, a JSON file that dlcm plan reads")->required();
  verb->add_option("--page", options->page, "curves and law as an HTML page");
  verb->add_option("--loss", options->loss, "which loss to fit")
      ->check(one_of({"training", "validation"}))
      ->capture_default_str();
  verb->add_option("--starts", options->request.starts, "random starts of the search")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  verb->add_option("--bootstrap", options->request.samples, "fits to runs drawn with replacement, for the intervals")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  verb->add_option("--seed", options->request.seed, "of starts and draws")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options] { fit(*options); });
}

}  // namespace dlcm::cli
