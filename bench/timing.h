// Timings that a noisy machine spoils least: the candidates take turns, and the median of the rounds counts.
#pragma once

#include <functional>
#include <vector>

namespace dlcm {

struct Timing {
  double median = 0.0, fastest = 0.0, slowest = 0.0;  // seconds
};

// Runs every candidate once to warm up, then `repeats` rounds of all of them in order.
std::vector<Timing> time_in_turns(const std::vector<std::function<void()>>& candidates, int repeats);

}  // namespace dlcm
