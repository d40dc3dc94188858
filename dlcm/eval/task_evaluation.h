// `dlcm eval --tasks`: benchmarks from files of their published records.
#pragma once

#include "dlcm/eval/task_result.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace dlcm {

// "NAME" or "NAME=FILE".
struct NamedFile {
  std::string name, file;

  // Splits `text` at its first "="; without one the file is FOLDER/NAME.jsonl.
  static NamedFile from(const std::string& text, const std::string& folder);
};

struct TaskSettings {
  std::string file;
  int64_t shots = 0;
  std::string examples_file;  // of the shots; empty takes them from the other items of `file`
};

// One benchmark, read and written: everything that can be wrong in its files is found here, before a model computes.
struct Task {
  const Benchmark* benchmark = nullptr;
  TaskSettings settings;
  std::vector<Question> questions;
  std::vector<std::string> beginnings;  // before each question's context
};

// Throws Error where the task is not known or its files are not as published.
Task read_task(const std::string& name, const TaskSettings& settings);

// Takes each item's log line, an object as item_json makes it, in the order of the file.
using ItemLog = std::function<void(const nlohmann::ordered_json&)>;

// Scores all items, with a progress line on stderr. `log` may be empty.
TaskResult evaluate_task(Engine& engine, const Task& task, const ContinuationOptions& options, const ItemLog& log);

}  // namespace dlcm
