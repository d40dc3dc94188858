// A law, and the configurations that are its sizes, for the tests of what is fitted and planned.
#pragma once

#include "dlcm/scaling/plan.h"

#include <string>
#include <vector>

namespace dlcm::test {

inline Config configuration(const std::string& name, const std::vector<std::string>& settings = {}) {
  return load_config(fmt::format("{}/configs/{}.toml", DLCM_SOURCE_DIR, name), settings);
}

inline RunScale scale_of(const Config& config) {
  const auto count = count_parameters(config);
  if (config.model.kind == ModelKind::llama) return {true, static_cast<double>(count.non_embedding()), 0.0, 1.0};
  return {false, static_cast<double>(count.non_embedding()), count.backbone_share(), config.parser.ratio};
}

inline ScalingLaw example_law() {
  ScalingLaw law;
  law.irreducible = 1.7;
  law.token = {60.0, 2e4, 0.38};
  law.concepts = {25.0, 4e4, 0.31};
  law.ratio_exponent = 0.35;
  law.data = {900.0, 3e5, 0.42};
  law.baseline = {80.0, 1e4, 0.36};
  return law;
}

}  // namespace dlcm::test
