// The numbers of a report's charts; web/report.js only draws them.
#pragma once

#include "dlcm/analysis/run_record.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace dlcm {

struct Point {
  double x = 0.0;
  double y = 0.0;
};

// At most `most` points: the means of runs of neighbours of nearly equal number. Points that are not finite are left
// out; what is few enough stays as it is.
std::vector<Point> averaged(const std::vector<Point>& points, size_t most);

// Six significant digits, which are more than a chart can show; no number is null.
nlohmann::ordered_json drawn_number(double value);

// JSON: "runs", each with its lines, and "gaps", the percentages by which runs differ from the reference.
std::string chart_data(const std::vector<RunRecord>& runs);

}  // namespace dlcm
