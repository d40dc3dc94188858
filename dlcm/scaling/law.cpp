#include "dlcm/scaling/law.h"

#include "dlcm/infer/evaluation.h"
#include "dlcm/util/error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>

namespace dlcm {

double ScalingLaw::size_loss(const RunScale& run) const {
  if (run.baseline) return baseline.at(run.parameters);
  if (form == LawForm::size_and_data) return token.at(run.parameters);
  return token.at(run.parameters * (1.0 - run.backbone_share)) +
         std::pow(run.ratio, ratio_exponent) * concepts.at(run.parameters * run.backbone_share);
}

Interval interval_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {quantile_of_sorted(values, 0.05), quantile_of_sorted(values, 0.95)};
}

nlohmann::ordered_json to_json(const ScalingLaw& law) {
  nlohmann::ordered_json json;
  ScalingLaw::fields(law, [&](const char* name, double value) { json[name] = value; });
  return json;
}

ScalingLaw law_from_json(const nlohmann::ordered_json& json, std::string_view where) {
  ScalingLaw law;
  ScalingLaw::fields(law, [&](const char* name, double& value) {
    const auto found = json.find(name);
    if (found == json.end() || !found->is_number()) {
      throw Error("expected the number {} of a scaling law in {}, found none: give a file that `dlcm fit` wrote", name,
                  where);
    }
    value = found->get<double>();
  });
  return law;
}

}  // namespace dlcm
