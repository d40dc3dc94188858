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
  std::optional<double> decay_gain;   // nats that the decay adds
  std::vector<SharePoint> shares;     // over P for each R
  std::vector<Saving> savings;        // over budgets; empty without a baseline
  Config config;                      // the nearest that can be built, with its steps set to the tokens
  std::optional<Needs> needs;         // of that configuration on the cluster
  std::vector<std::string> warnings;  // where the plan leaves what was fitted
};

// Throws Error where the request is out of range.
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
