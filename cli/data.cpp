// dlcm data build.
#include "cli/choice.h"
#include "cli/verbs.h"
#include "dlcm/data/build.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>

namespace dlcm::cli {
namespace {

struct DataOptions {
  DataBuild build;
  std::string format = "auto";
  bool json = false;
};

InputFormat format_named(const std::string& name) {
  if (name == "text") return InputFormat::text;
  return name == "jsonl" ? InputFormat::json_lines : InputFormat::by_name;
}

std::string as_words(const SplitSummary& split) {
  return fmt::format("{} documents, {} tokens, {:.3f} bytes per token", split.documents, split.tokens,
                     split.bytes_per_token());
}

// One line a label where there are several.
std::string domain_lines(const std::map<std::string, SplitSummary>& domains) {
  std::string lines;
  for (const auto& [name, summary] : domains) {
    if (domains.size() > 1) lines += fmt::format("\n  {}: {}", name, as_words(summary));
  }
  return lines;
}

std::string summary_text(const DataSummary& summary, const DataBuild& build) {
  std::string text =
      fmt::format("{}: train {}{}", build.output, as_words(summary.train), domain_lines(summary.train_domains));
  text += fmt::format("\nvalid {}{}", summary.valid.documents > 0 ? as_words(summary.valid) : "none",
                      domain_lines(summary.valid_domains));
  if (summary.valid.documents == 0 && build.validation_fraction > 0) {
    text += " (the one document is too short to be split: give --validation)";
  }
  const auto note = [&](int64_t count, std::string_view what) {
    if (count > 0) text += fmt::format("\n{} {}", count, what);
  };
  note(summary.documents_duplicate, "documents were dropped as duplicates");
  note(summary.documents_empty, "documents were empty and left out");
  note(summary.documents_not_utf8, "documents are not valid UTF-8 and were kept byte by byte; see problems.jsonl");
  for (const auto& [fault, count] : summary.faults) {
    note(count, fmt::format("times bad input was left out ({}); see problems.jsonl", name_of(fault)));
  }
  return text;
}

void run(const DataOptions& options, int& status) {
  std::ios::sync_with_stdio(false);
  const auto start = std::chrono::steady_clock::now();
  const DataSummary summary = build_data(options.build, std::cin);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (summary.signal) {
    fmt::print(stderr, "dlcm: stopped by a signal; all so far is saved beside {}, the same command goes on\n",
               options.build.output);
    status = 128 + *summary.signal;
    return;
  }
  fmt::print(stderr, "{}\n", summary_text(summary, options.build));
  if (!options.json) return;
  auto result = as_json(summary);
  result["seconds"] = seconds;  // of this call
  fmt::print("{}\n", result.dump());
}

}  // namespace

void add_data(CLI::App& app, int& status) {
  const auto options = std::make_shared<DataOptions>();
  DataBuild& build = options->build;
  auto* data = app.add_subcommand("data", "Turn text into tokenised shards");
  data->require_subcommand(1);
  auto* verb = data->add_subcommand(
      "build",
      "Text to a data directory. A document ends at the end of its file, at the end of its JSON record, or at a line "
      "that is exactly <|endoftext|>; such a line and the line end before it belong to no document. Stopped or killed, "
      "the same command goes on where it was");
  verb->add_option("--tokenizer", build.tokenizer, "A tokenizer's file, or bytes")->required();
  verb->add_option("--input", build.inputs,
                   "Text files, .jsonl files, either also as .gz or .zst, folders of them, or - for standard input")
      ->required();
  verb->add_option("--output", build.output, "The data directory to make")->required();
  verb->add_option("--field", build.fields.text, "Field of a JSON record that holds the text")->capture_default_str();
  verb->add_option("--format", options->format, "What the input is, whatever its name: auto goes by the name")
      ->check(one_of({"auto", "text", "jsonl"}))
      ->capture_default_str();
  auto* validation = verb->add_option("--validation", build.validation, "Text for validation, like --input");
  verb->add_option("--validation-fraction", build.validation_fraction,
                   "Share of the documents set aside for validation where --validation is not given")
      ->capture_default_str()
      ->excludes(validation);
  auto* domain = verb->add_option("--domain", build.domain, "A label kept in the shards");
  verb->add_option("--domain-field", build.fields.domain, "Field of a JSON record to count documents by")
      ->excludes(domain);
  verb->add_flag("--drop-duplicates", build.drop_duplicates, "Keep the first of all documents with equal text");
  verb->add_flag("--skip-bad", build.skip_bad,
                 "Leave out and count bad records and unreadable files instead of ending at the first");
  verb->add_option("--longest-document", build.rules.longest_record_bytes, "Most bytes of a document or JSON record")
      ->check(CLI::Range(int64_t{64}, int64_t{1} << 30))
      ->capture_default_str();
  verb->add_option("--threads", build.threads, "Threads that encode; 0 is one per core")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  verb->add_flag("--json", options->json, "The summary as one JSON object on standard output");
  verb->callback([options, &status] {
    options->build.rules.format = format_named(options->format);
    run(*options, status);
  });
}

}  // namespace dlcm::cli
