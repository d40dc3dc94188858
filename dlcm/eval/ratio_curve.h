// `dlcm eval --ratios`: one model read at several ratios, and what each costs in quality.
#pragma once

#include "dlcm/eval/text_evaluation.h"

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

namespace dlcm {

struct RatioPoint {
  std::optional<double> wanted;  // tokens per concept asked for; none: the stored threshold
  TextEvaluation evaluation;     // of all texts together
};

// The stored threshold first, then each of `ratios`. Throws Error where the model cannot follow a ratio.
std::vector<RatioPoint> ratio_curve(Engine& engine, const std::vector<std::string>& texts,
                                    const std::vector<double>& ratios);

// A line per point below a line of headings.
std::string ratio_table(const std::vector<RatioPoint>& points);

// As of a TextEvaluation, with wanted_ratio (null at the stored threshold).
nlohmann::ordered_json to_json(const RatioPoint& point);

}  // namespace dlcm
