// `dlcm info`: what a configuration is.
#include "cli/verbs.h"
#include "dlcm/model/describe.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <string>
#include <vector>

namespace dlcm::cli {
namespace {

struct InfoArguments {
  std::string config;
  std::vector<std::string> settings;
  bool json = false;
};

}  // namespace

void add_info(CLI::App& app, int& /*status*/) {
  auto* verb = app.add_subcommand("info", "Say what a model is: sizes, FLOPs, cache and memory");
  const auto arguments = std::make_shared<InfoArguments>();
  auto* source = verb->add_option_group("source", "what to describe");
  source->require_option(1);
  auto* config = source->add_option("--config", arguments->config, "configuration, a TOML file");
  verb->add_option("--set", arguments->settings, "KEY=VALUE in place of what the file says")
      ->needs(config)
      ->allow_extra_args(false);
  verb->add_flag("--json", arguments->json, "print one JSON object");
  verb->callback([arguments] {
    const auto configuration = load_config(arguments->config, arguments->settings);
    fmt::print("{}", arguments->json ? description_json(configuration, arguments->config) + "\n"
                                     : description_table(configuration, arguments->config));
  });
}

}  // namespace dlcm::cli
