// dlcm sweep: many runs from one file.
#include "dlcm/sweep/sweep.h"
#include "cli/verbs.h"
#include "dlcm/sweep/sweep_page.h"
#include "dlcm/util/error.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

namespace dlcm::cli {
namespace {

struct SweepOptions {
  std::string file, data, output;
  std::optional<int64_t> runs_at_once, threads;
  std::optional<double> hours;
  bool dry_run = false, retry_failed = false, json = false;
};

void list_runs(const SweepSpec& spec) {
  if (spec.method == SweepMethod::descent) {
    throw Error("--dry-run lists the runs of a grid: which runs a descent makes depends on their results");
  }
  for (const auto& point : grid_points(spec)) {
    std::string line;
    for (const auto& [axis, label] : point.labels)
      line += fmt::format("{}{} = {}", line.empty() ? "" : ", ", axis, label);
    fmt::print("{}\n", line);
  }
}

void sweep(const SweepOptions& options, int& status) {
  auto spec = load_sweep(options.file);
  if (options.runs_at_once) spec.runs_at_once = *options.runs_at_once;
  if (options.threads) spec.threads = *options.threads;
  if (options.hours) spec.most_hours = *options.hours;
  if (options.dry_run) return list_runs(spec);
  if (options.data.empty() || options.output.empty()) throw Error("--data and --output are needed to train");
  const auto objective = spec.objective;
  const auto result = run_sweep({.spec = std::move(spec),
                                 .data = options.data,
                                 .output = options.output,
                                 // Not by its path: a build may put another program there while the sweep runs.
                                 .program = "/proc/self/exe",
                                 .retry_failed = options.retry_failed});
  if (options.json) {
    for (const auto& row : result.rows) fmt::print("{}\n", row.dump(-1, ' ', false, Row::error_handler_t::replace));
  } else {
    fmt::print("{}", rows_text(result.rows, objective));
  }
  fmt::print(stderr, "dlcm: {} runs trained now, {} rows in {}{}\n", result.trained, result.rows.size(), options.output,
             result.complete ? "" : "; not complete: the same command goes on");
  if (!result.problem.empty()) {
    fmt::print(stderr, "dlcm: {}; what ended it mended, run the sweep again to go on\n", result.problem);
    status = 1;
  }
  if (result.signal) status = 128 + *result.signal;
}

}  // namespace

void add_sweep(CLI::App& app, int& status) {
  const auto options = std::make_shared<SweepOptions>();
  auto* verb =
      app.add_subcommand("sweep",
                         "Train a grid of runs, or descend by coordinates, as one TOML file says; finished runs are "
                         "skipped, interrupted ones resumed; dlcm report draws the output");
  verb->add_option("FILE", options->file, "the sweep: base, axes, budget")->required();
  verb->add_option("--data", options->data, "directory that `dlcm data build` wrote");
  verb->add_option("--output", options->output, "directory of rows.jsonl, rows.csv and the runs");
  verb->add_option("--runs-at-once", options->runs_at_once, "in place of the file's runs_at_once")
      ->check(CLI::PositiveNumber);
  verb->add_option("--threads", options->threads, "of each run, in place of the file's threads")
      ->check(CLI::PositiveNumber);
  verb->add_option("--hours", options->hours, "no run starts after this time, in place of the file's budget.hours")
      ->check(CLI::PositiveNumber);
  verb->add_flag("--retry-failed", options->retry_failed, "train runs again whose losses were no longer finite");
  verb->add_flag("--dry-run", options->dry_run, "check the file and list the runs of a grid");
  verb->add_flag("--json", options->json, "print the rows, one JSON object a line");
  verb->callback([options, &status] { sweep(*options, status); });
}

}  // namespace dlcm::cli
