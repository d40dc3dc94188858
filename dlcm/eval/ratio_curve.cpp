#include "dlcm/eval/ratio_curve.h"

#include <nlohmann/json.hpp>

namespace dlcm {

std::vector<RatioPoint> ratio_curve(Engine& engine, const std::vector<std::string>& texts,
                                    const std::vector<double>& ratios) {
  // Every threshold first: a ratio that is out of range is told before anything is computed.
  std::vector<ThresholdRequest> requests{{}};
  for (const double ratio : ratios) requests.push_back({.threshold = {}, .ratio = ratio});
  std::vector<double> thresholds;
  for (const auto& request : requests) thresholds.push_back(threshold_for(engine.model(), request));
  std::vector<RatioPoint> points;
  for (size_t i = 0; i < requests.size(); ++i) {
    std::vector<TextEvaluation> evaluations;
    for (const auto& text : texts) evaluations.push_back(evaluate_text(engine, text, thresholds[i]));
    points.push_back({.wanted = requests[i].ratio, .evaluation = total_of(evaluations)});
  }
  return points;
}

std::string ratio_table(const std::vector<RatioPoint>& points) {
  const double stored = points.front().evaluation.evaluation.bits_per_byte();
  auto table = fmt::format("{:>8} {:>9} {:>9} {:>8} {:>10} {:>9} {:>9}\n", "ratio", "threshold", "tok/conc", "loss",
                           "perplexity", "bits/byte", "change");
  for (const auto& [wanted, point] : points) {
    const auto& sums = point.evaluation;
    table += fmt::format("{:>8} {:>9.5f} {:>9.3f} {:>8.4f} {:>10.3f} {:>9.4f} {:>+7.2f} %\n",
                         wanted ? fmt::format("{:g}", *wanted) : "stored", point.threshold, sums.ratio().value_or(0.0),
                         sums.loss(), sums.perplexity(), sums.bits_per_byte(),
                         100.0 * (sums.bits_per_byte() / stored - 1.0));
  }
  return table;
}

nlohmann::ordered_json to_json(const RatioPoint& point) {
  auto json = to_json(point.evaluation);
  json["wanted_ratio"] = point.wanted ? nlohmann::ordered_json(*point.wanted) : nlohmann::ordered_json();
  return json;
}

}  // namespace dlcm
