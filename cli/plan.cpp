// dlcm plan: what to train for a budget.
#include "dlcm/scaling/plan.h"
#include "cli/output_file.h"
#include "cli/verbs.h"
#include "dlcm/io/files.h"
#include "dlcm/scaling/cluster_simulation.h"
#include "dlcm/util/error.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdio>
#include <memory>
#include <utility>

namespace dlcm::cli {
namespace {

struct PlanOptions {
  std::string fit, config, baseline_config, cluster, page, write_config;
  std::vector<std::string> settings;
  std::optional<double> flops, gpu_hours, mfu, tokens, ratio;
  bool json = false;
};

// How a configuration would train on a cluster.
void plan_on_cluster(const PlanOptions& options) {
  if (options.cluster.empty() || options.config.empty()) {
    throw Error("expected --fit, or --cluster and --config to simulate a training, found neither");
  }
  for (const auto& [option, given] :
       {std::pair{"--flops", options.flops.has_value()}, std::pair{"--gpu-hours", options.gpu_hours.has_value()},
        std::pair{"--ratio", options.ratio.has_value()}, std::pair{"--page", !options.page.empty()},
        std::pair{"--write-config", !options.write_config.empty()},
        std::pair{"--baseline-config", !options.baseline_config.empty()}}) {
    if (given) throw Error("{} needs --fit, a file that dlcm fit wrote: give it, or leave {} out", option, option);
  }
  if (options.tokens && !(std::isfinite(*options.tokens) && *options.tokens > 0.0)) {
    throw Error("expected --tokens above 0, found {}", *options.tokens);
  }
  auto cluster = load_cluster(options.cluster);
  if (options.mfu) cluster.mfu = *options.mfu;
  const auto config = load_config(options.config, options.settings);
  const double tokens = options.tokens.value_or(static_cast<double>(config.train.steps * config.train.tokens_per_step));
  const auto result = plan_cluster(config, cluster, tokens);
  fmt::print("{}", options.json ? to_json(result).dump() + "\n" : cluster_text(result, config, cluster));
}

void plan(const PlanOptions& options) {
  if (options.fit.empty()) return plan_on_cluster(options);
  if (options.tokens) {
    throw Error("--tokens is for a simulation, without --fit: with --fit the budget says the tokens; leave it out");
  }
  check_output_file("--page", options.page);
  check_output_file("--write-config", options.write_config);
  const auto fit = load_fit(options.fit);
  PlanRequest request;
  if (options.ratio) request.ratio = *options.ratio;
  if (!options.cluster.empty()) {
    request.cluster = load_cluster(options.cluster);
    if (options.mfu) request.cluster->mfu = *options.mfu;
  } else if (options.mfu || options.gpu_hours) {
    throw Error(
        "--gpu-hours and --mfu need --cluster: a TOML file with a table [cluster] that holds devices, peak_tflops, "
        "memory_gib and mfu");
  }
  if (options.flops.has_value() == options.gpu_hours.has_value()) {
    throw Error("expected a budget as --flops or as --gpu-hours, found {}", options.flops ? "both" : "none");
  }
  request.flops = options.flops ? *options.flops : request.cluster->flops_in(*options.gpu_hours);
  auto base = fit.config;
  auto baseline = fit.baseline_config;
  if (!options.config.empty()) base = load_config(options.config);
  if (!options.baseline_config.empty()) baseline = load_config(options.baseline_config);
  // Settings such as the context or the vocabulary hold for both.
  base = parse_config(to_toml(base), options.config.empty() ? options.fit : options.config, options.settings);
  if (baseline) baseline = parse_config(to_toml(*baseline), "the baseline", options.settings);
  const auto result = make_plan(fit, base, baseline, request);
  if (!options.write_config.empty()) write_file_synced(options.write_config, to_toml(result.config));
  if (!options.page.empty()) write_file_synced(options.page, chart_page(plan_page(result)));
  fmt::print("{}", options.json ? to_json(result).dump() + "\n" : plan_text(result));
}

}  // namespace

void add_plan(CLI::App& app, int& /*status*/) {
  const auto options = std::make_shared<PlanOptions>();
  auto* verb = app.add_subcommand(
      "plan",
      "Say what to train for a budget: size, backbone's share, tokens and loss with intervals, and what it takes");
  verb->add_option("--fit", options->fit,
                   "what dlcm fit wrote; without it --config is simulated on the devices of --cluster");
  auto* flops = verb->add_option("--flops", options->flops, "training FLOPs");
  verb->add_option("--gpu-hours", options->gpu_hours, "hours of one device, with --cluster")->excludes(flops);
  verb->add_option("--mfu", options->mfu, "share of the peak that training reaches, in place of the cluster's")
      ->check(CLI::Range(1e-4, 1.0));
  verb->add_option("--cluster", options->cluster,
                   "the machines: TOML, [cluster] devices, peak_tflops, memory_gib, mfu and, for a simulation, "
                   "link_gbit, latency_us, message_us, slowest_to_mean");
  verb->add_option("--tokens", options->tokens, "tokens to train on, without --fit; train.steps of them if left out");
  verb->add_option("--ratio", options->ratio, "R, tokens per concept, with --fit; 4 if left out");
  verb->add_option("--config", options->config,
                   "take a model's proportions from this file, not from the largest fitted run");
  verb->add_option("--baseline-config", options->baseline_config, "the same for the plain transformer");
  verb->add_option("--set", options->settings, "KEY=VALUE over both, such as train.context=2048")
      ->allow_extra_args(false);
  verb->add_option("--write-config", options->write_config, "write the nearest configuration to this file");
  verb->add_option("--page", options->page, "the answers as an HTML page");
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options] { plan(*options); });
}

}  // namespace dlcm::cli
