// dlcm data build.
#include "cli/verbs.h"
#include "dlcm/data/build.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <iostream>
#include <memory>

namespace dlcm::cli {
namespace {

nlohmann::ordered_json as_json(const SplitSummary& split) {
  return {{"documents", split.documents},
          {"tokens", split.tokens},
          {"bytes", split.bytes},
          {"bytes_per_token", split.bytes_per_token()}};
}

std::string as_words(const SplitSummary& split) {
  return fmt::format("{} documents, {} tokens, {:.3f} bytes per token", split.documents, split.tokens,
                     split.bytes_per_token());
}

struct DataOptions {
  DataBuild build;
  bool json = false;
};

void run(const DataOptions& options) {
  std::ios::sync_with_stdio(false);
  const DataSummary summary = build_data(options.build, std::cin);
  std::string line = fmt::format("{}: train {}; valid {}", options.build.output, as_words(summary.train),
                                 summary.valid.documents > 0 ? as_words(summary.valid) : "none");
  if (summary.valid.documents == 0 && options.build.validation_fraction > 0) {
    line += " (the one document is too short to be split: give --validation)";
  }
  if (summary.documents_not_utf8 > 0) {
    line += fmt::format("; {} documents are not valid UTF-8 and were kept byte by byte", summary.documents_not_utf8);
  }
  fmt::print(stderr, "{}\n", line);
  if (!options.json) return;
  const nlohmann::ordered_json result{{"train", as_json(summary.train)},
                                      {"valid", as_json(summary.valid)},
                                      {"documents_not_utf8", summary.documents_not_utf8}};
  fmt::print("{}\n", result.dump());
}

}  // namespace

void add_data(CLI::App& app, int& /*status*/) {
  const auto options = std::make_shared<DataOptions>();
  DataBuild& build = options->build;
  auto* data = app.add_subcommand("data", "Turn text into tokenised shards");
  data->require_subcommand(1);
  auto* verb = data->add_subcommand(
      "build",
      "Text to a data directory. A document ends at the end of its file, at the end of its JSON record, or at a line "
      "that is exactly <|endoftext|>; such a line and the line end before it belong to no document");
  verb->add_option("--tokenizer", build.tokenizer, "A SentencePiece model file, or bytes")->required();
  verb->add_option("--input", build.inputs,
                   "Text files, .jsonl files (field \"text\"), folders of them, or - for standard input")
      ->required();
  verb->add_option("--output", build.output, "The data directory to make")->required();
  auto* validation = verb->add_option("--validation", build.validation, "Text for validation, like --input");
  verb->add_option("--validation-fraction", build.validation_fraction,
                   "Share of the documents set aside for validation where --validation is not given")
      ->capture_default_str()
      ->excludes(validation);
  verb->add_option("--domain", build.domain, "A label kept in the shards");
  verb->add_flag("--json", options->json, "The summary as one JSON object on standard output");
  verb->callback([options] { run(*options); });
}

}  // namespace dlcm::cli
