#include "bench/evaluation.h"

#include "bench/timing.h"
#include "dlcm/eval/task_evaluation.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>

namespace dlcm {
namespace {

struct Way {
  const char* name;
  int64_t batch_tokens;
  bool share_beginnings;
};

constexpr std::array kWays{Way{"each prompt alone", 1, false}, Way{"side by side", 16384, false},
                           Way{"common beginnings once", 1, true}, Way{"both", 16384, true}};

double largest_difference(const std::vector<QuestionScores>& left, const std::vector<QuestionScores>& right) {
  double largest = 0.0;
  for (size_t i = 0; i < left.size(); ++i) {
    for (size_t choice = 0; choice < left[i].choices.size(); ++choice) {
      largest = std::max(largest, std::abs(left[i].choices[choice].logprob - right[i].choices[choice].logprob));
    }
  }
  return largest;
}

}  // namespace

std::vector<nlohmann::json> bench_evaluation(const EvaluationBench& bench) {
  Engine engine(load_engine_model(bench.model), {.threads = bench.threads});
  std::vector<nlohmann::json> lines;
  for (const auto& text : bench.tasks) {
    const auto named = NamedFile::from(text, bench.items);
    auto task = read_task(named.name, {.file = named.file, .shots = bench.shots, .examples_file = {}});
    const auto count = std::min(task.questions.size(), static_cast<size_t>(bench.limit));
    task.questions.resize(count);
    task.beginnings.resize(count);
    std::array<std::vector<QuestionScores>, kWays.size()> scores;
    std::vector<std::function<void()>> candidates;
    for (size_t way = 0; way < kWays.size(); ++way) {
      candidates.push_back([&, way] {
        scores[way] = score_questions(engine, task.questions, task.beginnings,
                                      {.threshold = engine.model().threshold(),
                                       .batch_tokens = kWays[way].batch_tokens,
                                       .share_beginnings = kWays[way].share_beginnings});
      });
    }
    const auto timings = time_in_turns(candidates, bench.repeats);
    for (size_t way = 0; way < kWays.size(); ++way) {
      lines.push_back({{"task", named.name},
                       {"way", kWays[way].name},
                       {"items", count},
                       {"shots", bench.shots},
                       {"seconds", timings[way].median},
                       {"fastest_seconds", timings[way].fastest},
                       {"slowest_seconds", timings[way].slowest},
                       {"items_per_second", static_cast<double>(count) / timings[way].median},
                       {"speedup", timings[0].median / timings[way].median},
                       {"largest_difference", largest_difference(scores[0], scores[way])}});
    }
  }
  return lines;
}

std::string evaluation_bench_table(const std::vector<nlohmann::json>& lines) {
  auto table = fmt::format("{:<15} {:>5} {:>6}  {:<22} {:>9} {:>17} {:>8} {:>8} {:>20}\n", "task", "shots", "items",
                           "way", "seconds", "fastest, slowest", "items/s", "speed-up", "largest difference");
  for (const auto& line : lines) {
    const auto number = [&](const char* key) { return line.at(key).get<double>(); };
    table += fmt::format("{:<15} {:>5} {:>6}  {:<22} {:>9.3f} {:>8.3f} {:>8.3f} {:>8.1f} {:>8.2f} {:>20.1e}\n",
                         line.at("task").get<std::string>(), line.at("shots").get<int64_t>(),
                         line.at("items").get<int64_t>(), line.at("way").get<std::string>(), number("seconds"),
                         number("fastest_seconds"), number("slowest_seconds"), number("items_per_second"),
                         number("speedup"), number("largest_difference"));
  }
  return table;
}

}  // namespace dlcm
