#include "dlcm/infer/boundary_rules.h"

#include "dlcm/ops/uniform.h"

#include <cmath>

namespace dlcm {

bool opens_concept(const Config& config, const BoundaryQuestion& question, double threshold) {
  const auto& parser = config.parser;
  if (question.position == 0) return true;  // a text begins with a concept
  const auto position = static_cast<double>(question.position);
  switch (parser.rule) {
    case BoundaryRule::learned:
      return question.score >= static_cast<float>(threshold);
    case BoundaryRule::cosine:
      return question.score >= static_cast<float>(parser.cosine_threshold);
    case BoundaryRule::stride:
      // Place k opens at the first position not below k R: R need not be whole.
      return std::floor(position / parser.ratio) != std::floor((position - 1.0) / parser.ratio);
    case BoundaryRule::random:
      return uniform_draw(static_cast<uint64_t>(config.train.seed), DrawUse::random_rule,
                          static_cast<uint64_t>(question.id), static_cast<uint64_t>(question.position)) < 1.0 / parser.ratio;
    case BoundaryRule::whitespace:
      return question.opens_word && question.segment_length >= parser.min_length;
    case BoundaryRule::entropy:
      return question.entropy > parser.entropy.threshold;
  }
  return false;
}

bool has_scores(BoundaryRule rule) { return rule == BoundaryRule::learned || rule == BoundaryRule::cosine; }

}  // namespace dlcm
