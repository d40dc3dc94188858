// dlcm train: trains a model, or estimates what that would take.
#include "cli/verbs.h"

#include "dlcm/dist/agreement.h"
#include "dlcm/dist/launch.h"
#include "dlcm/io/checkpoint_store.h"
#include "dlcm/train/trainer.h"
#include "dlcm/util/error.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <memory>
#include <optional>

namespace dlcm::cli {
namespace {

struct Options {
  std::string config, data, output, from;
  std::vector<std::string> settings;
  bool resume = false, dry_run = false, json = false;
};

Config read_config(const Options& options) {
  if (!options.config.empty()) return load_config(options.config, options.settings);
  if (!options.resume) throw Error("--config is missing: give a TOML file such as configs/small.toml");
  const auto checkpoint = load_checkpoint(find_checkpoint(options.output), /*with_optimizer=*/false);
  return parse_config(checkpoint.config_toml, "the checkpoint's config.toml", options.settings);
}

TrainingRequest read_request(const Options& options) {
  TrainingRequest request{read_config(options), options.data, options.output, options.resume, std::nullopt};
  if (request.data.empty()) request.data = request.config.data.path;
  request.config.data.path = request.data;
  if (request.data.empty()) {
    throw Error("--data is missing: give a directory that `dlcm data build` wrote, or a mixture file");
  }
  if (!options.from.empty()) request.from = options.from;
  if (!options.dry_run && options.output.empty()) throw Error("--output is missing: name the run directory to write");
  return request;
}

// On every rank; returns its exit status.
int run(const Options& options, Job& job) {
  auto& communicator = job.communicator();
  std::optional<TrainingRequest> request;
  on_every_rank(communicator, [&] { request = read_request(options); });
  job.watch(request->config.dist.timeout_seconds);
  const bool leads = communicator.rank() == 0;
  if (options.dry_run) {
    const auto estimate = dry_run(*request, communicator);
    if (leads) fmt::print("{}{}", options.json ? estimate.dump() : dry_run_table(estimate), options.json ? "\n" : "");
    return 0;
  }
  const auto result = train(*request, communicator);
  if (leads && options.json) {
    fmt::print(
        "{}\n",
        nlohmann::json{{"step", result.step}, {"tokens", result.tokens}, {"interrupted", result.signal.has_value()}}
            .dump());
  }
  if (!result.signal) return 0;
  if (leads) {
    fmt::print(stderr, "dlcm: stopped by a signal after step {}; everything is saved, --resume goes on\n", result.step);
  }
  return 128 + *result.signal;
}

}  // namespace

void add_train(CLI::App& app, int& status) {
  auto options = std::make_shared<Options>();
  auto* verb = app.add_subcommand(
      "train", "Train a model on a data directory; SIGINT and SIGTERM save and stop; under mpirun on several ranks");
  verb->add_option("--config", options->config, "TOML file, for example configs/small.toml (--resume: the run's own)");
  verb->add_option("--set", options->settings, "KEY=VALUE over the file, such as train.steps=120; repeatable")
      ->allow_extra_args(false);
  verb->add_option("--data", options->data,
                   "directory that `dlcm data build` wrote, or a mixture file; sets data.path");
  verb->add_option("--output", options->output, "run directory: checkpoints, metrics.jsonl, TensorBoard events");
  verb->add_flag("--resume", options->resume, "go on from the run's newest complete checkpoint");
  verb->add_option("--from", options->from,
                   "start a new run from this run or checkpoint: on the same data it goes on at its step (a branch for "
                   "a decay), on other data it takes the weights alone (a fine-tune)");
  verb->add_flag("--dry-run", options->dry_run, "print parameters, FLOPs, memory and a time estimate; write nothing");
  verb->add_flag("--json", options->json, "results as one JSON object on stdout");
  verb->callback([options, &status] {
    Job job;
    status = job.run([&] { return run(*options, job); });
  });
}

}  // namespace dlcm::cli
