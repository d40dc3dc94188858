#include "dlcm/eval/task_result.h"

#include "dlcm/util/utf8.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>

namespace dlcm {
namespace {

using nlohmann::ordered_json;

Estimate estimate(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  double sum = 0.0, squares = 0.0;
  for (const double value : values) sum += value;
  const double mean = sum / count;
  for (const double value : values) squares += (value - mean) * (value - mean);
  if (values.size() < 2) return {mean, std::nullopt};
  return {mean, std::sqrt(squares / (count - 1)) / std::sqrt(count)};
}

double correct(const Question& question, const QuestionScores& scores, Measure measure) {
  return measure == Measure::choice ? scores.best() == question.answer : scores.choices[question.answer].greedy;
}

double correct_by_length(const Question& question, const QuestionScores& scores) {
  return scores.best_by_length(question) == question.answer;
}

// Figures of groups; `figure` takes one of a group.
template <typename Figure>
Estimate pooled_estimate(const std::vector<GroupResult>& groups, const Figure& figure) {
  double items = 0.0, sum = 0.0, variance = 0.0;
  bool errors = true;
  for (const auto& group : groups) {
    const auto count = static_cast<double>(group.items);
    const Estimate& value = figure(group);
    items += count;
    sum += value.mean * count;
    errors = errors && value.error.has_value();
    variance += (count - 1) * count * value.error.value_or(0.0) * value.error.value_or(0.0);
  }
  if (!errors) return {sum / items, std::nullopt};
  return {sum / items, std::sqrt(variance / (items - static_cast<double>(groups.size())) / items)};
}

ordered_json or_null(const std::optional<double>& value) { return value ? ordered_json(*value) : ordered_json(); }

void add_figures(ordered_json& json, const GroupResult& group) {
  const auto add = [&](const std::string& name, const std::optional<Estimate>& value) {
    json[name] = value ? ordered_json(value->mean) : ordered_json();
    json[name + "_stderr"] = value ? or_null(value->error) : ordered_json();
  };
  add("acc", group.acc);
  add("acc_norm", group.acc_norm);
  add("perplexity", group.perplexity);
}

ordered_json groups_json(const std::string& kind, const std::vector<GroupResult>& groups) {
  auto list = ordered_json::array();
  for (const auto& group : groups) {
    ordered_json json;
    json[kind] = group.name;
    json["items"] = group.items;
    add_figures(json, group);
    list.push_back(std::move(json));
  }
  return groups.empty() ? ordered_json() : list;
}

std::string percent(const std::optional<Estimate>& value) {
  if (!value) return "-";
  return value->error ? fmt::format("{:.2f} ± {:.2f}", 100 * value->mean, 100 * *value->error)
                      : fmt::format("{:.2f}", 100 * value->mean);
}

std::string table_line(const std::string& name, size_t width, const GroupResult& group, const std::string& seconds) {
  // "±" is one column and two bytes.
  const auto column = [](const std::string& text) {
    const size_t columns = text.size() - (text.find("±") != std::string::npos);
    return std::string(columns < 15 ? 15 - columns : 0, ' ') + text;
  };
  const auto perplexity = group.perplexity ? fmt::format("{:.3f}", group.perplexity->mean) : "-";
  return fmt::format("{:<{}}  {:>6} {} {} {:>11} {:>9}\n", name, width, group.items, column(percent(group.acc)),
                     column(percent(group.acc_norm)), perplexity, seconds);
}

}  // namespace

GroupResult group_result(std::string name, const Benchmark& benchmark, const std::vector<const Question*>& questions,
                         const std::vector<const QuestionScores*>& scores) {
  GroupResult group;
  group.name = std::move(name);
  group.items = static_cast<int64_t>(questions.size());
  std::vector<double> acc, acc_norm, logprob;
  for (size_t i = 0; i < questions.size(); ++i) {
    acc.push_back(correct(*questions[i], *scores[i], benchmark.measure));
    acc_norm.push_back(correct_by_length(*questions[i], *scores[i]));
    logprob.push_back(scores[i]->choices[questions[i]->answer].logprob);
  }
  group.acc = estimate(acc);
  if (benchmark.measure == Measure::choice) {
    group.acc_norm = estimate(acc_norm);
  } else {
    auto mean = estimate(logprob);
    const double perplexity = std::exp(-mean.mean);
    group.perplexity = Estimate{perplexity, mean.error ? std::optional(perplexity * *mean.error) : std::nullopt};
  }
  return group;
}

GroupResult pooled(std::string name, const std::vector<GroupResult>& groups) {
  GroupResult all;
  all.name = std::move(name);
  for (const auto& group : groups) all.items += group.items;
  all.acc = pooled_estimate(groups, [](const auto& group) -> const Estimate& { return group.acc; });
  all.acc_norm = pooled_estimate(groups, [](const auto& group) -> const Estimate& { return *group.acc_norm; });
  return all;
}

TaskResult task_result(const Benchmark& benchmark, const std::vector<Question>& questions,
                       const std::vector<QuestionScores>& scores) {
  std::map<std::string, std::pair<std::vector<const Question*>, std::vector<const QuestionScores*>>> by_subject;
  TaskResult result;
  result.task = benchmark.name;
  for (size_t i = 0; i < questions.size(); ++i) {
    auto& [subject_questions, subject_scores] = by_subject[questions[i].subject];
    subject_questions.push_back(&questions[i]);
    subject_scores.push_back(&scores[i]);
    result.truncated += scores[i].truncated;
  }
  std::vector<GroupResult> groups;
  std::map<std::string, std::vector<GroupResult>> categories;
  for (const auto& [subject, members] : by_subject) {
    groups.push_back(group_result(subject, benchmark, members.first, members.second));
    if (benchmark.category != nullptr) categories[std::string(benchmark.category(subject))].push_back(groups.back());
  }
  if (by_subject.begin()->first.empty()) {
    result.total = std::move(groups.front());
    return result;
  }
  result.total = pooled("", groups);
  for (const auto& [category, members] : categories) result.categories.push_back(pooled(category, members));
  result.subjects = std::move(groups);
  return result;
}

std::string task_table(const std::vector<TaskResult>& results) {
  size_t width = 4;
  for (const auto& result : results) {
    width = std::max(width, result.task.size());
    for (const auto& category : result.categories) width = std::max(width, category.name.size() + 2);
  }
  auto table = fmt::format("{:<{}}  {:>6} {:>15} {:>15} {:>11} {:>9}\n", "task", width, "items", "acc %", "acc_norm %",
                           "perplexity", "seconds");
  for (const auto& result : results) {
    table += table_line(result.task, width, result.total, fmt::format("{:.1f}", result.seconds));
    for (const auto& category : result.categories) table += table_line("  " + category.name, width, category, "");
  }
  return table;
}

ordered_json to_json(const TaskResult& result) {
  ordered_json json;
  json["task"] = result.task;
  json["file"] = valid_utf8(result.file);
  json["items"] = result.total.items;
  json["shots"] = result.shots;
  add_figures(json, result.total);
  json["categories"] = groups_json("category", result.categories);
  json["subjects"] = groups_json("subject", result.subjects);
  json["truncated"] = result.truncated;
  json["threshold"] = or_null(result.threshold);
  json["seconds"] = result.seconds;
  json["items_per_second"] = static_cast<double>(result.total.items) / result.seconds;
  return json;
}

ordered_json item_json(const Benchmark& benchmark, const Question& question, const std::string& beginning,
                       const QuestionScores& scores) {
  ordered_json json;
  json["task"] = benchmark.name;
  json["line"] = question.line;
  json["subject"] = question.subject.empty() ? ordered_json() : ordered_json(question.subject);
  for (const auto& context : question.contexts) json["contexts"].push_back(beginning + context);
  json["continuations"] = question.continuations;
  json["answer"] = question.answer;
  for (const auto& choice : scores.choices) {
    json["logprobs"].push_back(choice.logprob);
    json["greedy"].push_back(choice.greedy);
  }
  json["acc"] = static_cast<int>(correct(question, scores, benchmark.measure));
  json["acc_norm"] = benchmark.measure == Measure::choice
                         ? ordered_json(static_cast<int>(correct_by_length(question, scores)))
                         : ordered_json();
  return json;
}

}  // namespace dlcm
