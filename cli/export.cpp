// dlcm export: a model as one self-contained file that is mapped into memory and used as it lies there.
#include "cli/choice.h"
#include "cli/verbs.h"
#include "dlcm/eval/rounding_cost.h"
#include "dlcm/infer/exported_model.h"
#include "dlcm/io/checkpoint_store.h"
#include "dlcm/util/error.h"
#include "dlcm/util/progress.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <memory>

namespace dlcm::cli {
namespace {

struct ExportOptions {
  std::string model, config, tokenizer = "bytes", output;
  std::vector<std::string> settings, texts;
  std::optional<int64_t> seed;
  WeightFormat format = WeightFormat::float32;
  bool json = false;
};

void write(const ExportOptions& options, const ModelFacts& facts, const ParameterSource& source) {
  ProgressLine line({.label = "export", .total = 0, .clock = {}});
  write_exported_model(options.output, facts, options.format, source, [&](int64_t done, int64_t total) {
    line.update(done / (int64_t{1} << 20), {fmt::format("of {} MiB", total / (int64_t{1} << 20))});
  });
}

void export_checkpoint(const ExportOptions& options) {
  const auto path = find_checkpoint(options.model);
  const auto facts = facts_of_checkpoint(path);
  const auto where = path + "/model.safetensors";
  const MappedSafeTensors weights(where);
  const auto parameters = weights.views();
  check_parameters(facts.config, parameters, where);
  write(options, facts,
        [&](const std::string& name, const std::vector<int64_t>&) { return parameters.tensors.at(name); });
}

void export_random(const ExportOptions& options) {
  ModelFacts facts;
  facts.config = load_config(options.config, options.settings);
  facts.tokenizer = load_tokenizer(options.tokenizer);
  auto& vocabulary = facts.config.model.vocabulary;
  if (vocabulary == 0) vocabulary = facts.tokenizer->vocabulary();
  if (vocabulary < facts.tokenizer->vocabulary()) {
    throw Error("model.vocabulary = {} is smaller than the {} ids of the tokenizer {}: raise it, or set it to 0",
                vocabulary, facts.tokenizer->vocabulary(), options.tokenizer);
  }
  write(options, facts, random_parameters(facts.config, *options.seed));
}

void export_model(const ExportOptions& options) {
  if (options.config.empty()) {
    export_checkpoint(options);
  } else {
    export_random(options);
  }
  const auto exported = load_engine_model(options.output);
  nlohmann::ordered_json json{{"file", options.output},
                              {"weights", name_of(options.format)},
                              {"bytes", std::filesystem::file_size(options.output)},
                              {"weight_bytes", exported->weight_bytes}};
  auto text = fmt::format("{}: {}, {:.1f} MB\n", options.output, name_of(options.format),
                          static_cast<double>(exported->weight_bytes) / 1e6);
  if (!options.texts.empty()) {
    Engine trained_engine(load_engine_model(options.model)), exported_engine(exported);
    const auto cost = rounding_cost(trained_engine, exported_engine, options.texts);
    json["cost"] = to_json(cost);
    text += rounding_cost_text(cost);
  }
  fmt::print("{}", options.json ? json.dump() + "\n" : text);
}

}  // namespace

void add_export(CLI::App& app, int& /*status*/) {
  const auto options = std::make_shared<ExportOptions>();
  auto* verb = app.add_subcommand(
      "export", "Write a model as one self-contained file that every verb takes as --model and that loads at once");
  auto* source = verb->add_option_group("source", "what to export");
  source->require_option(1);
  auto* model =
      source->add_option("--model", options->model, "run directory (its newest complete checkpoint) or checkpoint");
  auto* config =
      source->add_option("--config", options->config, "configuration, a TOML file, of a model with random weights");
  auto* seed = verb->add_option("--random-weights", options->seed, "seed of the weights of --config");
  config->needs(seed);
  seed->needs(config);
  verb->add_option("--set", options->settings, "KEY=VALUE in place of what the configuration says")
      ->needs(config)
      ->allow_extra_args(false);
  verb->add_option("--tokenizer", options->tokenizer, "of --config: a tokenizer file, or bytes")
      ->capture_default_str()
      ->needs(config);
  verb->add_option("--output", options->output, "the file")->required();
  verb->add_option("--quantize", options->format,
                   "the weights' format: float32 as they are, bfloat16, int8 (a scale for 64 inputs) or int4 (a scale "
                   "for 32 inputs)")
      ->transform(one_of<WeightFormat>({{"float32", WeightFormat::float32},
                                        {"bfloat16", WeightFormat::bfloat16},
                                        {"int8", WeightFormat::int8},
                                        {"int4", WeightFormat::int4}}));
  verb->add_option("--text", options->texts,
                   "text files, .jsonl files or folders: print what the rounding costs there in bits per byte")
      ->needs(model);
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options] { export_model(*options); });
}

}  // namespace dlcm::cli
