// dlcm eval: how well a model predicts text files, and how it answers benchmarks.
#include "cli/model_options.h"
#include "cli/verbs.h"
#include "dlcm/eval/ratio_curve.h"
#include "dlcm/eval/task_evaluation.h"
#include "dlcm/eval/text_evaluation.h"
#include "dlcm/io/files.h"
#include "dlcm/util/error.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>

namespace dlcm::cli {
namespace {

struct EvalOptions : ModelOptions {
  std::vector<std::string> texts;
  std::vector<double> ratios;
  std::vector<std::string> tasks, examples;
  std::string items = ".";
  int64_t shots = 0;
  int64_t batch_tokens = ContinuationOptions{}.batch_tokens;
  std::string item_log;
  bool json = false;
};

void evaluate_texts(const EvalOptions& options) {
  Engine engine(load_engine_model(options.model));
  const double threshold = threshold_for(engine.model(), options.request);
  std::vector<TextEvaluation> evaluations;
  for (const auto& path : options.texts) evaluations.push_back(evaluate_text(engine, path, threshold));
  evaluations.push_back(total_of(evaluations));
  if (!options.json) {
    fmt::print("{}", evaluation_table(evaluations));
    return;
  }
  for (const auto& evaluation : evaluations) fmt::print("{}\n", to_json(evaluation).dump());
}

void evaluate_ratios(const EvalOptions& options) {
  Engine engine(load_engine_model(options.model));
  const auto points = ratio_curve(engine, options.texts, options.ratios);
  if (!options.json) {
    fmt::print("{}", ratio_table(points));
    return;
  }
  for (const auto& point : points) fmt::print("{}\n", to_json(point).dump());
}

std::vector<Task> read_tasks(const EvalOptions& options) {
  std::vector<NamedFile> tasks, examples;
  for (const auto& text : options.tasks) tasks.push_back(NamedFile::from(text, options.items));
  for (const auto& text : options.examples) {
    examples.push_back(NamedFile::from(text, options.items));
    const auto same = [&](const NamedFile& task) { return task.name == examples.back().name; };
    if (std::none_of(tasks.begin(), tasks.end(), same)) {
      throw Error("expected --shots-from for one of --tasks, found {}: add the task or leave it out",
                  examples.back().name);
    }
  }
  std::vector<Task> read;
  for (const auto& task : tasks) {
    TaskSettings settings{.file = task.file, .shots = options.shots, .examples_file = {}};
    for (const auto& source : examples) {
      if (source.name == task.name) settings.examples_file = source.file;
    }
    read.push_back(read_task(task.name, settings));
  }
  return read;
}

void evaluate_tasks(const EvalOptions& options) {
  const auto tasks = read_tasks(options);
  Engine engine(load_engine_model(options.model));
  const ContinuationOptions scoring{.threshold = threshold_for(engine.model(), options.request),
                                    .batch_tokens = options.batch_tokens};
  std::optional<OutputFile> log;
  if (!options.item_log.empty()) log.emplace(options.item_log);
  ItemLog write;
  if (log) write = [&](const nlohmann::ordered_json& item) { log->append(item.dump() + "\n"); };
  std::vector<TaskResult> results;
  for (const auto& task : tasks) {
    results.push_back(evaluate_task(engine, task, scoring, write));
    if (!options.json) continue;
    fmt::print("{}\n", to_json(results.back()).dump());
    std::fflush(stdout);
  }
  if (log) log->close();
  if (!options.json) fmt::print("{}", task_table(results));
}

}  // namespace

void add_eval(CLI::App& app, int& /*status*/) {
  const auto options = std::make_shared<EvalOptions>();
  auto* verb = app.add_subcommand(
      "eval",
      "--text: loss (nats per token), perplexity, bits per byte and tokens per concept of text files, and of all\n"
      "together. Documents end where `dlcm data build` ends them. <|bos|> is given, every text token is predicted, "
      "and\n"
      "<|endoftext|> counts nowhere.\n"
      "--tasks: accuracy on benchmarks, with the prompts, the scores and the standard errors of\n"
      "lm-evaluation-harness. Tasks: commonsense_qa hellaswag winogrande openbookqa piqa arc_challenge arc_easy mmlu\n"
      "boolq race ceval cmmlu lambada.");
  add_model_options(*verb, *options);
  auto* text = verb->add_option("--text", options->texts,
                                "text files, .jsonl files (field \"text\") or folders; - is standard input");
  auto* tasks = verb->add_option("--tasks", options->tasks,
                                 "NAME[=FILE],...: benchmarks and the JSON-lines files of their published records")
                    ->delimiter(',')
                    ->excludes(text);
  verb->add_option("--ratios", options->ratios,
                   "R,R,...: quality against tokens per concept, a line for the stored threshold and for each ratio")
      ->delimiter(',')
      ->needs(text)
      ->excludes(verb->get_option("--ratio"))
      ->excludes(verb->get_option("--threshold"));
  verb->add_option("--items", options->items, "folder that holds NAME.jsonl for a task without a file")
      ->capture_default_str()
      ->needs(tasks);
  verb->add_option("--shots", options->shots, "examples before each question")->capture_default_str()->needs(tasks);
  verb->add_option("--shots-from", options->examples,
                   "NAME[=FILE],...: files of the examples of a task (its other items)")
      ->delimiter(',')
      ->needs(tasks);
  verb->add_option("--item-log", options->item_log, "write one JSON object per item to this file")->needs(tasks);
  verb->add_option("--batch-tokens", options->batch_tokens, "tokens held in memory side by side")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->needs(tasks);
  verb->add_flag("--json", options->json, "one JSON object per file, and one named total at the end; one per task");
  verb->callback([options] {
    if (options->texts.empty() && options->tasks.empty()) {
      throw Error("expected --text or --tasks, found neither: name what to evaluate on");
    }
    if (!options->ratios.empty()) {
      evaluate_ratios(*options);
    } else if (options->tasks.empty()) {
      evaluate_texts(*options);
    } else {
      evaluate_tasks(*options);
    }
  });
}

}  // namespace dlcm::cli
