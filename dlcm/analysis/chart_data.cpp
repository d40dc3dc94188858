#include "dlcm/analysis/chart_data.h"

#include "dlcm/analysis/comparison.h"
#include "dlcm/util/utf8.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace dlcm {
namespace {

using nlohmann::ordered_json;

// Points of a drawn line at most, and of a line whose neighbours are averaged to calm it.
constexpr size_t kMostPoints = 400;
constexpr size_t kMostSmoothPoints = 160;

ordered_json drawn(const std::vector<Point>& points) {
  auto list = ordered_json::array();
  for (const auto& point : points) list.push_back({drawn_number(point.x), drawn_number(point.y)});
  return list;
}

ordered_json line(const RunRecord& run, double TrainingPoint::*x, double TrainingPoint::*y, size_t most) {
  std::vector<Point> points;
  for (const auto& point : run.training) points.push_back({point.*x, point.*y});
  return drawn(averaged(points, most));
}

}  // namespace

ordered_json drawn_number(double value) {
  if (!std::isfinite(value)) return nullptr;
  return std::stod(fmt::format("{:.6g}", value));
}

std::vector<Point> averaged(const std::vector<Point>& points, size_t most) {
  std::vector<Point> finite;
  std::copy_if(points.begin(), points.end(), std::back_inserter(finite),
               [](const Point& point) { return std::isfinite(point.x) && std::isfinite(point.y); });
  if (finite.size() <= most) return finite;
  std::vector<Point> means;
  for (size_t bucket = 0; bucket < most; ++bucket) {
    const size_t begin = bucket * finite.size() / most;
    const size_t end = (bucket + 1) * finite.size() / most;
    Point sum;
    for (size_t i = begin; i < end; ++i) {
      sum.x += finite[i].x;
      sum.y += finite[i].y;
    }
    const auto count = static_cast<double>(end - begin);
    means.push_back({sum.x / count, sum.y / count});
  }
  return means;
}

std::string chart_data(const std::vector<RunRecord>& runs) {
  ordered_json data;
  data["runs"] = ordered_json::array();
  for (const auto& run : runs) {
    const bool has_concepts = !run.is_baseline();
    const auto flops = run.training_flops_per_token();
    auto validations = ordered_json::array();
    for (const auto& point : run.validation) {
      // The columns that report.js names.
      const auto of_concepts = [&](double value) { return drawn_number(has_concepts ? value : kUnknown); };
      validations.push_back({drawn_number(point.step), drawn_number(point.tokens), drawn_number(point.bits_per_byte),
                             of_concepts(point.ratio), of_concepts(point.ratio_half), of_concepts(point.ratio_p10),
                             of_concepts(point.ratio_p90)});
    }
    data["runs"].push_back(
        {{"name", valid_utf8(run.name)},
         {"flops", flops ? drawn_number(*flops) : ordered_json()},
         {"target", has_concepts && run.config ? drawn_number(run.config->parser.ratio) : ordered_json()},
         {"validation", validations},
         {"loss", line(run, &TrainingPoint::tokens, &TrainingPoint::loss, kMostSmoothPoints)},
         {"ratio",
          has_concepts ? line(run, &TrainingPoint::step, &TrainingPoint::ratio, kMostPoints) : ordered_json::array()},
         {"rate", line(run, &TrainingPoint::tokens, &TrainingPoint::lr, kMostPoints)},
         {"speed", line(run, &TrainingPoint::tokens, &TrainingPoint::tokens_per_second, kMostSmoothPoints)}});
  }
  data["gaps"] = ordered_json::array();
  const size_t reference = reference_run(runs);
  for (size_t i = 0; i < runs.size(); ++i) {
    if (i == reference) continue;
    std::vector<Point> points;
    for (const auto& pair : common_validations(runs[i], runs[reference])) {
      points.push_back({pair.tokens, 100.0 * pair.difference()});
    }
    if (!points.empty()) data["gaps"].push_back({{"run", i}, {"points", drawn(points)}});
  }
  return data.dump();
}

}  // namespace dlcm
