// What the rounding of a model's weights costs: the same texts read with the weights as they were trained and as they
// were exported.
#pragma once

#include "dlcm/eval/text_evaluation.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace dlcm {

struct RoundingCost {
  Evaluation trained, exported;
  int64_t flipped = 0;  // tokens at which one of the two opens a concept and the other does not

  // Of bits per byte, as a share of the trained model's.
  double relative_loss() const { return exported.bits_per_byte() / trained.bits_per_byte() - 1.0; }
};

// Both at the model's stored threshold, all texts as one data set. Throws Error as evaluate_text does.
RoundingCost rounding_cost(Engine& trained, Engine& exported, const std::vector<std::string>& texts);

// A line for people; one object: bits_per_byte, exported_bits_per_byte, relative_loss, tokens, ratio, exported_ratio,
// flipped_boundaries (null without concepts).
std::string rounding_cost_text(const RoundingCost& cost);
nlohmann::ordered_json to_json(const RoundingCost& cost);

}  // namespace dlcm
