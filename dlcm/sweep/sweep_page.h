// A sweep's rows as a table and as charts of what its axes do.
#pragma once

#include "dlcm/analysis/chart_page.h"
#include "dlcm/sweep/rows.h"

#include <string>
#include <vector>

namespace dlcm {

// Whether `path` is the output directory of a sweep.
bool is_sweep(const std::string& path);

// The rows in a table for people: axes, loss, bits per byte, ratio, size; the best by `objective` first.
std::string rows_text(const std::vector<Row>& rows, const std::string& objective);

// Charts of losses, bits per byte and ratios over the last axis with numbers, a line for each combination of the
// others; where an axis is train.seed, means over it with the least and the largest as interval. Rows with the same
// labels that differ in more than the seed (of another sweep, of other data) are lines of their own; rows of other axes
// have sections of their own.
ChartPage sweep_page(const std::vector<Row>& rows, const std::string& title);

}  // namespace dlcm
