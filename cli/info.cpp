// `dlcm info`: what a configuration or a trained model is.
#include "cli/verbs.h"
#include "dlcm/infer/engine_model.h"
#include "dlcm/model/describe.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <string>
#include <vector>

namespace dlcm::cli {
namespace {

struct InfoArguments {
  std::string config;
  std::string model;
  std::vector<std::string> settings;
  bool json = false;
};

void describe_configuration(const InfoArguments& arguments) {
  const auto configuration = load_config(arguments.config, arguments.settings);
  fmt::print("{}", arguments.json ? description_json(configuration, arguments.config) + "\n"
                                  : description_table(configuration, arguments.config));
}

void describe_model(const InfoArguments& arguments) {
  const auto loaded = load_engine_model(arguments.model);
  const auto& model = *loaded;
  if (arguments.json) {
    auto object = nlohmann::ordered_json::parse(description_json(model.config, model.path));
    object["step"] = model.step;
    object["tokens"] = model.tokens_seen;
    object["threshold"] = model.has_concepts() ? nlohmann::ordered_json(model.threshold()) : nullptr;
    fmt::print("{}\n", object.dump());
    return;
  }
  fmt::print("{}", description_table(model.config, model.path));
  fmt::print("{:<24}step {}, {} tokens\n", "trained to", model.step, model.tokens_seen);
  if (model.has_concepts()) fmt::print("{:<24}{}\n", "threshold of p", model.threshold());
}

}  // namespace

void add_info(CLI::App& app, int& /*status*/) {
  auto* verb = app.add_subcommand("info", "Say what a model is: sizes, FLOPs, cache and memory");
  const auto arguments = std::make_shared<InfoArguments>();
  auto* source = verb->add_option_group("source", "what to describe");
  source->require_option(1);
  auto* config = source->add_option("--config", arguments->config, "configuration, a TOML file");
  source->add_option("--model", arguments->model,
                     "run directory (its newest complete checkpoint), checkpoint or exported file");
  verb->add_option("--set", arguments->settings, "KEY=VALUE in place of what the file says")
      ->needs(config)
      ->allow_extra_args(false);
  verb->add_flag("--json", arguments->json, "print one JSON object");
  verb->callback([arguments] {
    if (arguments->model.empty()) {
      describe_configuration(*arguments);
    } else {
      describe_model(*arguments);
    }
  });
}

}  // namespace dlcm::cli
