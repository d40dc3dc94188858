// A benchmark's figures, as lm-evaluation-harness aggregates them.
#pragma once

#include "dlcm/eval/question_scores.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dlcm {

// A mean and its standard error; none for fewer than two items.
struct Estimate {
  double mean = 0.0;
  std::optional<double> error;
};

struct GroupResult {
  std::string name;
  int64_t items = 0;
  Estimate acc;
  std::optional<Estimate> acc_norm;    // questions with choices
  std::optional<Estimate> perplexity;  // of the last word
};

struct TaskResult {
  std::string task, file;
  int64_t shots = 0;
  std::optional<double> threshold;  // of a model with concepts
  int64_t truncated = 0;            // items of which a prompt lost its beginning
  double seconds = 0.0;
  GroupResult total;
  std::vector<GroupResult> categories, subjects;  // in the order of their names; empty where there are none
};

// Figures of the questions of one subject: means over them; error = sample deviation / sqrt(items), for the perplexity
// times the perplexity.
GroupResult group_result(std::string name, const Benchmark& benchmark, const std::vector<const Question*>& questions,
                         const std::vector<const QuestionScores*>& scores);
// Figures of several groups together: means weighted by items; errors from the pooled variance within the groups.
GroupResult pooled(std::string name, const std::vector<GroupResult>& groups);

// Total, categories and subjects. Fills what follows from the scores; the rest is the caller's.
TaskResult task_result(const Benchmark& benchmark, const std::vector<Question>& questions,
                       const std::vector<QuestionScores>& scores);

// A line per task and category below a line of headings.
std::string task_table(const std::vector<TaskResult>& results);

// One object: task, file, items, shots, acc, acc_stderr, acc_norm, acc_norm_stderr, perplexity, perplexity_stderr,
// categories and subjects (arrays of the same figures), truncated, threshold, seconds, items_per_second. What does not
// apply is null.
nlohmann::ordered_json to_json(const TaskResult& result);

// One object for an item: task, line, subject, contexts, continuations, answer, logprobs, greedy, acc, acc_norm.
nlohmann::ordered_json item_json(const Benchmark& benchmark, const Question& question, const std::string& beginning,
                                 const QuestionScores& scores);

}  // namespace dlcm
