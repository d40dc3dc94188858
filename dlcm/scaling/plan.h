// `dlcm plan`: every answer for one budget, as JSON, text and a page.
#pragma once

#include "dlcm/analysis/chart_page.h"
#include "dlcm/analysis/table.h"
#include "dlcm/scaling/fit_file.h"
#include "dlcm/scaling/planner.h"

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

namespace dlcm {

struct PlanRequest {
  double flops = 0.0;
  double ratio = 4.0;
  std::optional<Cluster> cluster = {};
};

// The best loss of the budget at one P and R.
struct SharePoint {
  double ratio = 0.0;
  Optimum optimum;
};

struct Plan {
  PlanRequest request;
  PlannedOptimum best;
  double training_flops_per_token = 0.0;
  double total_parameters = 0.0;
  std::optional<double> loss_after_decay;  // nats; none without a decay law for the base's schedule.decay_fraction
  std::vector<SharePoint> shares;          // over P for each R, where the budget is enough
  std::vector<Saving> savings;             // over budgets that are enough; empty without a baseline
  Config config;                           // the nearest that can be built, with steps that spend the budget
  std::optional<Needs> needs;              // of that configuration on the cluster
  std::vector<std::string> warnings;       // where the plan leaves what was fitted or searched
};

// Throws Error where the request is out of range, `base` is no DLCM or `baseline` no plain transformer, and where no
// model as small as the budget wants can be built.
Plan make_plan(const FitFile& fit, const Config& base, const std::optional<Config>& baseline,
               const PlanRequest& request);

nlohmann::ordered_json to_json(const Plan& plan);
std::string plan_text(const Plan& plan);
Table share_table(const Plan& plan);
Table saving_table(const Plan& plan);

ChartPage plan_page(const Plan& plan);
// The fitted curves beside the measured ones, and predictions of what was left out.
ChartPage fit_page(const FitFile& fit, const std::vector<RunCurve>& curves);

}  // namespace dlcm
