#include "bench/timing.h"

#include <algorithm>
#include <chrono>

namespace dlcm {

std::vector<Timing> time_in_turns(const std::vector<std::function<void()>>& candidates, int repeats) {
  std::vector<std::vector<double>> seconds(candidates.size());
  for (int round = 0; round <= repeats; ++round) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      const auto start = std::chrono::steady_clock::now();
      candidates[i]();
      const double taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      if (round > 0) seconds[i].push_back(taken);
    }
  }
  std::vector<Timing> timings;
  for (auto& of_one : seconds) {
    std::sort(of_one.begin(), of_one.end());
    timings.push_back({of_one.at(of_one.size() / 2), of_one.front(), of_one.back()});
  }
  return timings;
}

}  // namespace dlcm
