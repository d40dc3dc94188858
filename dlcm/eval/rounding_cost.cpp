#include "dlcm/eval/rounding_cost.h"

#include <nlohmann/json.hpp>

namespace dlcm {

RoundingCost rounding_cost(Engine& trained, Engine& exported, const std::vector<std::string>& texts) {
  const double threshold = trained.model().threshold();
  RoundingCost cost;
  for (const auto& text : texts) {
    cost.trained.add(evaluate_text(trained, text, threshold).evaluation);
    cost.exported.add(evaluate_text(exported, text, threshold).evaluation);
  }
  const auto least = static_cast<float>(threshold);
  for (size_t t = 0; t < cost.trained.p.size(); ++t) {
    if ((cost.trained.p[t] >= least) != (cost.exported.p[t] >= least)) ++cost.flipped;
  }
  return cost;
}

std::string rounding_cost_text(const RoundingCost& cost) {
  auto text = fmt::format("bits per byte {:.5f} as trained, {:.5f} as exported: {:+.3f} %",
                          cost.trained.bits_per_byte(), cost.exported.bits_per_byte(), 100.0 * cost.relative_loss());
  if (!cost.trained.ratio()) return text + "\n";
  return text + fmt::format("; {} of {} boundary decisions flipped ({:.3f} %), tokens per concept {:.3f} and {:.3f}\n",
                            cost.flipped, cost.trained.tokens,
                            100.0 * static_cast<double>(cost.flipped) / static_cast<double>(cost.trained.tokens),
                            *cost.trained.ratio(), *cost.exported.ratio());
}

nlohmann::ordered_json to_json(const RoundingCost& cost) {
  const auto or_null = [](const std::optional<double>& value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
  };
  return {
      {"bits_per_byte", cost.trained.bits_per_byte()},
      {"exported_bits_per_byte", cost.exported.bits_per_byte()},
      {"relative_loss", cost.relative_loss()},
      {"tokens", cost.trained.tokens},
      {"ratio", or_null(cost.trained.ratio())},
      {"exported_ratio", or_null(cost.exported.ratio())},
      {"flipped_boundaries", cost.trained.ratio() ? nlohmann::ordered_json(cost.flipped) : nlohmann::ordered_json()}};
}

}  // namespace dlcm
