// Which rank takes which windows of a step, so that all are done at about the same time. How many concepts a window has
// is known only after the encoder; what is known before are its documents' lengths and how many tokens a concept of its
// source had of late.
#pragma once

#include "dlcm/config/config.h"

#include <cstdint>
#include <vector>

namespace dlcm {

// Operations of a forward pass over a window of these document edges, at `ratio` tokens per concept.
double expected_window_flops(const Config& config, const std::vector<int64_t>& offsets, double ratio);

// The windows of each rank, rising, from what each window costs: as many for every rank, or one more for some, the
// dearest ones dealt out first, each to the rank that has least so far. A pure function: every rank finds the same.
std::vector<std::vector<size_t>> share_windows(const std::vector<double>& costs, int64_t world_size);

}  // namespace dlcm
