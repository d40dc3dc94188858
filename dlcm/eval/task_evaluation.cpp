#include "dlcm/eval/task_evaluation.h"

#include "dlcm/eval/few_shot.h"
#include "dlcm/util/error.h"
#include "dlcm/util/progress.h"

#include <nlohmann/json.hpp>

#include <chrono>

namespace dlcm {

NamedFile NamedFile::from(const std::string& text, const std::string& folder) {
  const auto equals = text.find('=');
  NamedFile named{.name = text.substr(0, equals), .file = {}};
  named.file = equals == std::string::npos ? fmt::format("{}/{}.jsonl", folder, named.name) : text.substr(equals + 1);
  return named;
}

Task read_task(const std::string& name, const TaskSettings& settings) {
  if (settings.shots < 0) throw Error("expected --shots of at least 0, found {}", settings.shots);
  Task task{.benchmark = &benchmark(name), .settings = settings, .questions = {}, .beginnings = {}};
  task.questions = read_questions(*task.benchmark, settings.file);
  std::optional<ExamplePool> pool;
  if (!settings.examples_file.empty()) {
    pool = {read_questions(*task.benchmark, settings.examples_file), settings.examples_file};
  }
  task.beginnings = prompt_beginnings(*task.benchmark, task.questions, settings.shots, pool);
  return task;
}

TaskResult evaluate_task(Engine& engine, const Task& task, const ContinuationOptions& options, const ItemLog& log) {
  const auto begin = std::chrono::steady_clock::now();
  int64_t prompts = 0;
  for (const auto& question : task.questions) prompts += static_cast<int64_t>(question.choices.size());
  ProgressLine progress({.label = std::string(task.benchmark->name), .total = prompts, .clock = {}});
  auto with_progress = options;
  with_progress.progress = [&](size_t done) { progress.update(static_cast<int64_t>(done)); };
  const auto scores = score_questions(engine, task.questions, task.beginnings, with_progress);
  progress.finish();
  auto result = task_result(*task.benchmark, task.questions, scores);
  result.file = task.settings.file;
  result.shots = task.settings.shots;
  if (engine.model().has_concepts()) result.threshold = options.threshold;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (log) {
    for (size_t i = 0; i < scores.size(); ++i) {
      log(item_json(*task.benchmark, task.questions[i], task.beginnings[i], scores[i]));
    }
  }
  return result;
}

}  // namespace dlcm
