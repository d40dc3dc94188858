// dlcm coordinate-check: does muP keep activations and updates the same at every width?
#include "dlcm/sweep/coordinate_check.h"
#include "cli/verbs.h"
#include "dlcm/io/files.h"
#include "dlcm/util/error.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <filesystem>
#include <memory>

namespace dlcm::cli {
namespace {

struct CheckOptions {
  std::string config, output;
  std::vector<std::string> settings;
  CoordinateRequest request;
};

void check(CheckOptions& options) {
  options.request.config = load_config(options.config, options.settings);
  // Before the models run, so that a path that cannot be written costs no waiting.
  std::error_code failure;
  std::filesystem::create_directories(options.output, failure);
  if (failure) throw RuntimeFailure("cannot create the directory {}: {}", options.output, failure.message());
  const auto coordinates = coordinate_check(options.request);
  write_file_synced(options.output + "/coordinates.csv", coordinate_table(coordinates).csv());
  write_file_synced(options.output + "/index.html", chart_page(coordinate_page(coordinates)));
  fmt::print("exponents of the updates over the width\n{}", slope_table(coordinate_slopes(coordinates)).text());
  fmt::print(stderr, "dlcm: {0}/index.html shows it; the numbers are in {0}/coordinates.csv\n", options.output);
}

}  // namespace

void add_coordinate_check(CLI::App& app, int& /*status*/) {
  const auto options = std::make_shared<CheckOptions>();
  auto* verb = app.add_subcommand("coordinate-check",
                                  "Activations and their first updates by component over widths, with and without muP");
  verb->add_option("--config", options->config, "configuration of the base width, a TOML file")->required();
  verb->add_option("--set", options->settings, "KEY=VALUE over the file")->allow_extra_args(false);
  verb->add_option("--data", options->request.data, "directory that `dlcm data build` wrote")->required();
  verb->add_option("--output", options->output, "directory of index.html and coordinates.csv")->required();
  verb->add_option("--widths", options->request.widths, "factors on every width")
      ->delimiter(',')
      ->capture_default_str();
  verb->add_option("--steps", options->request.steps, "optimiser steps")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->callback([options] { check(*options); });
}

}  // namespace dlcm::cli
