// The coordinate check of muP (SPEC section 4): how large the activations of each component are, and how far the first
// steps of training move them, at several widths, with and without muP. With muP neither depends on the width.
#pragma once

#include "dlcm/analysis/chart_page.h"
#include "dlcm/analysis/table.h"
#include "dlcm/config/config.h"

#include <cstdint>
#include <string>
#include <vector>

namespace dlcm {

struct CoordinateRequest {
  Config config;  // of the base width
  std::string data;
  std::vector<int64_t> widths{1, 2, 4, 8};  // factors on every width
  int64_t steps = 10;
};

// Root mean squares over tokens and channels, on one validation batch whose concepts are of equal length at every
// width.
struct Coordinate {
  bool mup = false;
  int64_t width = 1;  // factor
  int64_t step = 0;   // optimiser steps done
  std::string component;
  double activation = 0.0;
  double update = 0.0;  // of the difference from step 0
};

// Trains every width with a constant learning rate. Throws Error where a width cannot be, or the data are not there.
std::vector<Coordinate> coordinate_check(const CoordinateRequest& request);

// The exponent with which a component's update grows with the width after the last step: the slope of its logarithm.
struct CoordinateSlope {
  std::string component;
  double with_mup = 0.0, without = 0.0;
};
std::vector<CoordinateSlope> coordinate_slopes(const std::vector<Coordinate>& coordinates);

Table coordinate_table(const std::vector<Coordinate>& coordinates);
Table slope_table(const std::vector<CoordinateSlope>& slopes);
ChartPage coordinate_page(const std::vector<Coordinate>& coordinates);

// `config` with every width `factor` times as large: heads, feed-forwards and the scan width with them; its rates were
// tuned at its own width (muP), or are to be used as they are.
Config widened(const Config& config, int64_t factor, bool mup);

}  // namespace dlcm
