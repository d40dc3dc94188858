// `dlcm bench eval`: items a second on a benchmark, with and without what makes scoring fast.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace dlcm {

struct EvaluationBench {
  std::string model;
  std::vector<std::string> tasks;  // as `dlcm eval --tasks` takes them
  std::string items = ".";
  int64_t shots = 0;
  int64_t limit = 100;  // items of each task
  int repeats = 3;
  int64_t threads = 0;  // 0 takes all
};

// One line per task and way: task, way, items, shots, seconds (median), fastest_seconds, slowest_seconds,
// items_per_second, speedup (over each prompt alone) and largest_difference (of a sum of log-probabilities, from each
// prompt alone, in nats).
std::vector<nlohmann::json> bench_evaluation(const EvaluationBench& bench);

std::string evaluation_bench_table(const std::vector<nlohmann::json>& lines);

}  // namespace dlcm
