#include "dlcm/scaling/plan.h"

#include "dlcm/analysis/numbers.h"
#include "dlcm/util/error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <set>

namespace dlcm {
namespace {

using nlohmann::ordered_json;

constexpr double kShareStep = 0.1;
// Budgets of the saving's curve: this many powers of ten below and above the one asked for.
constexpr int kDecadesBelow = 3, kDecadesAbove = 2;

// A best P this close to the end of its search may lie beyond.
constexpr double kShareEdge = 0.005;
// The model that is built may have so many times the planned parameters.
constexpr double kMostTooLarge = 1.5;

void warn_beyond(std::vector<std::string>& warnings, std::string_view what, double value, const FittedRange& range) {
  if (range.holds(value)) return;
  warnings.push_back(fmt::format("{} = {} lies outside what was fitted ({} to {}): an extrapolation", what,
                                 quantity(value), quantity(range.least), quantity(range.most)));
}

std::vector<std::string> warnings_of(const FitFile& fit, const Config& base, const Optimum& best) {
  std::vector<std::string> warnings;
  const double share = best.scale.backbone_share;
  warn_beyond(warnings, "N", best.scale.parameters, fit.parameters);
  warn_beyond(warnings, "P", share, fit.share);
  warn_beyond(warnings, "D", best.tokens, fit.tokens);
  warn_beyond(warnings, "R", best.scale.ratio, fit.ratio);
  if (share <= kLeastShare + kShareEdge || share >= kMostShare - kShareEdge) {
    warnings.push_back(fmt::format("the best P is at the end of what is searched ({} to {}), the law's may lie beyond",
                                   percentage(kLeastShare), percentage(kMostShare)));
  }
  if (fit.decay && fit.decay->decay_fraction != base.schedule.decay_fraction) {
    warnings.push_back(
        fmt::format("nothing is said of the loss after the decay: the fitted runs have schedule.decay_fraction = {}, "
                    "the plan's configuration has {}",
                    fit.decay->decay_fraction, base.schedule.decay_fraction));
  }
  return warnings;
}

bool extrapolates(const FitFile& fit, const Saving& saving) {
  const auto& [scale, tokens, loss] = saving.optimum;
  const auto& baseline = saving.baseline.optimum;
  return !(fit.parameters.holds(scale.parameters) && fit.share.holds(scale.backbone_share) &&
           fit.ratio.holds(scale.ratio) && fit.tokens.holds(tokens) &&
           fit.baseline_parameters.holds(baseline.scale.parameters) && fit.baseline_tokens.holds(baseline.tokens));
}

double training_flops_per_token(const Config& config) {
  return kTrainingFlopsPerForward * expected_flops_per_token(config).total();
}

double non_embedding(const Config& config) { return static_cast<double>(count_parameters(config).non_embedding()); }

// The nearest configuration to the optimum of `flops`, with steps that spend them. Throws Error where it is too large.
Config nearest_config(const Family& family, const Optimum& best, double flops) {
  auto config = family.nearest(best.scale);
  config.train.steps =
      std::llround(flops / training_flops_per_token(config) / static_cast<double>(config.train.tokens_per_step));
  if (!std::isfinite(best.loss) || config.train.steps == 0 ||
      non_embedding(config) > kMostTooLarge * best.scale.parameters) {
    auto least = best.scale;
    least.parameters = kLeastParameters;
    throw Error(
        "a budget of {:g} FLOPs wants a model of {}{} parameters, but the nearest that can be built has {}, and the "
        "smallest {}: raise the budget, or give a configuration with smaller heads or fewer tokens per step as "
        "--config",
        flops, std::isfinite(best.loss) ? "" : "fewer than ", quantity(best.scale.parameters),
        quantity(non_embedding(config)), quantity(non_embedding(family.nearest(least))));
  }
  return config;
}

ordered_json interval_json(const std::optional<Interval>& interval) {
  return interval ? ordered_json{interval->low, interval->high} : ordered_json();
}

std::string gibibytes(double bytes) { return fmt::format("{:.3g} GiB", bytes / std::exp2(30)); }

}  // namespace

Plan make_plan(const FitFile& fit, const Config& base, const std::optional<Config>& baseline,
               const PlanRequest& request) {
  if (!(request.flops >= 1e9 && request.flops <= 1e32)) {
    throw Error("expected a budget from 1e9 to 1e32 FLOPs, found {:g}", request.flops);
  }
  if (!(request.ratio > 1.0 && request.ratio <= 65536.0)) {
    throw Error("expected --ratio of more than 1 token per concept (at most 65536), found {}", request.ratio);
  }
  if (base.model.kind != ModelKind::dlcm) {
    throw Error(
        "expected a DLCM to take proportions from, found model.kind = \"llama\": give a configuration of kind dlcm as "
        "--config");
  }
  if (baseline && baseline->model.kind != ModelKind::llama) {
    throw Error(
        "expected a plain transformer as the baseline to take proportions from, found model.kind = \"dlcm\": give a "
        "configuration of kind llama as --baseline-config");
  }
  const Family family(base);
  std::optional<Family> baseline_family;
  if (baseline) baseline_family.emplace(*baseline);
  const PlannerInput input{fit.law, fit.bootstrap, &family, baseline_family ? &*baseline_family : nullptr};
  Plan plan;
  plan.request = request;
  plan.best = plan_optimum(input, request.flops, request.ratio);
  plan.config = nearest_config(family, plan.best, request.flops);
  plan.training_flops_per_token = family.training_flops_per_token(plan.best.scale);
  plan.total_parameters = family.total_parameters(plan.best.scale);
  if (fit.decay && fit.decay->decay_fraction == base.schedule.decay_fraction) {
    plan.loss_after_decay = loss_after_decay(fit.law, *fit.decay, plan.best.scale, plan.best.tokens);
  }

  std::set<double> ratios{2.0, 4.0, 8.0, request.ratio};
  for (const double ratio : ratios) {
    for (double share = kShareStep; share < 1.0 - kShareStep / 2; share += kShareStep) {
      const auto optimum = best_size(fit.law, family, request.flops, {.backbone_share = share, .ratio = ratio});
      if (std::isfinite(optimum.loss)) plan.shares.push_back({ratio, optimum});
    }
  }
  if (input.baseline_family != nullptr && fit.law.has_baseline()) {
    for (int half = -2 * kDecadesBelow; half <= 2 * kDecadesAbove; ++half) {
      auto saving = saving_at(input, request.flops * std::pow(10.0, half / 2.0), request.ratio);
      if (!std::isfinite(saving.optimum.loss)) continue;
      saving.extrapolates = extrapolates(fit, saving);
      plan.savings.push_back(saving);
    }
  }
  if (request.cluster) plan.needs = needs_of(plan.config, request.flops, *request.cluster);
  plan.warnings = warnings_of(fit, base, plan.best);
  return plan;
}

ordered_json to_json(const Plan& plan) {
  const auto& best = plan.best;
  ordered_json json{{"flops", plan.request.flops},
                    {"ratio", plan.request.ratio},
                    {"parameters", best.scale.parameters},
                    {"parameters_interval", interval_json(best.parameters_interval)},
                    {"backbone_share", best.scale.backbone_share},
                    {"backbone_share_interval", interval_json(best.share_interval)},
                    {"tokens", best.tokens},
                    {"tokens_interval", interval_json(best.tokens_interval)},
                    {"loss", best.loss},
                    {"loss_interval", interval_json(best.loss_interval)},
                    {"loss_after_decay", plan.loss_after_decay ? ordered_json(*plan.loss_after_decay) : ordered_json()},
                    {"training_flops_per_token", plan.training_flops_per_token},
                    {"total_parameters", plan.total_parameters},
                    {"warnings", plan.warnings},
                    {"shares", ordered_json::array()},
                    {"savings", ordered_json::array()},
                    {"needs", nullptr},
                    {"config", to_toml(plan.config)}};
  for (const auto& [ratio, optimum] : plan.shares) {
    json["shares"].push_back({{"ratio", ratio},
                              {"backbone_share", optimum.scale.backbone_share},
                              {"parameters", optimum.scale.parameters},
                              {"tokens", optimum.tokens},
                              {"loss", optimum.loss}});
  }
  for (const auto& saving : plan.savings) {
    json["savings"].push_back(
        {{"flops", saving.flops},
         {"parameters", saving.optimum.scale.parameters},
         {"loss", saving.optimum.loss},
         {"baseline_flops", saving.saved() ? ordered_json(saving.baseline.flops) : ordered_json()},
         {"saved", saving.saved() ? ordered_json(*saving.saved()) : ordered_json()},
         {"extrapolates", saving.extrapolates}});
  }
  if (plan.needs) {
    json["needs"] = {{"state_bytes", plan.needs->state_bytes},
                     {"activation_bytes", plan.needs->activation_bytes},
                     {"device_hours", plan.needs->device_hours},
                     {"hours", plan.needs->hours},
                     {"fits", plan.needs->fits},
                     {"least_devices", plan.needs->least_devices}};
  }
  return json;
}

Table share_table(const Plan& plan) {
  Table table({"ratio", "backbone_share", "parameters", "tokens", "loss"}, {"R", "P", "N", "D", "loss, nats"});
  for (const auto& [ratio, optimum] : plan.shares) {
    table.add({csv_number(ratio), csv_number(optimum.scale.backbone_share), csv_number(optimum.scale.parameters),
               csv_number(optimum.tokens), csv_number(optimum.loss)},
              {fmt::format("{:g}", ratio), percentage(optimum.scale.backbone_share), quantity(optimum.scale.parameters),
               quantity(optimum.tokens), fmt::format("{:.4f}", optimum.loss)});
  }
  return table;
}

Table saving_table(const Plan& plan) {
  Table table({"flops", "parameters", "loss", "baseline_flops", "saved", "extrapolates"},
              {"FLOPs", "N", "loss, nats", "FLOPs of the plain transformer", "saved", "extrapolates"});
  for (const auto& saving : plan.savings) {
    const auto saved = saving.saved();
    const auto& [scale, tokens, loss] = saving.optimum;
    const auto needed = quantity(saving.baseline.flops);
    table.add({csv_number(saving.flops), csv_number(scale.parameters), csv_number(loss),
               saved ? csv_number(saving.baseline.flops) : "", saved ? csv_number(*saved) : "",
               saving.extrapolates ? "1" : "0"},
              {quantity(saving.flops), quantity(scale.parameters), fmt::format("{:.4f}", loss),
               saved                                              ? needed
               : saving.baseline.kind == BaselineNeed::Kind::less ? "less than " + needed
                                                                  : "more than " + needed,
               saved ? signed_percentage(*saved) : std::string(kNothing), saving.extrapolates ? "yes" : ""});
  }
  return table;
}

std::string plan_text(const Plan& plan) {
  const auto& best = plan.best;
  Table answer({"what", "value", "low", "high"}, {"", "best", "5 %", "95 %"});
  const auto row = [&](const std::string& what, double value, const std::optional<Interval>& interval,
                       const auto& show) {
    answer.add({what, show(value), interval ? show(interval->low) : "", interval ? show(interval->high) : ""});
  };
  row("N, non-embedding parameters", best.scale.parameters, best.parameters_interval, quantity);
  row("P, backbone's share", best.scale.backbone_share, best.share_interval, percentage);
  row("D, training tokens", best.tokens, best.tokens_interval, quantity);
  row("stable loss, nats per token", best.loss, best.loss_interval, decimals(4));
  if (plan.loss_after_decay) row("loss after the decay", *plan.loss_after_decay, std::nullopt, decimals(4));
  auto text =
      fmt::format("{} FLOPs at R = {:g}\n\n{}\n", quantity(plan.request.flops), plan.request.ratio, answer.text());
  const auto& model = plan.config.model;
  const auto counted = count_parameters(plan.config);
  text += fmt::format(
      "nearest model: {} + {} token layers of width {}, {} concept layers of width {}; N {}, P {}, with embedding and "
      "head "
      "{}\n",
      model.token.encoder_layers, model.token.decoder_layers, model.token.width, model.concepts.layers,
      model.concepts.width, quantity(static_cast<double>(counted.non_embedding())),
      percentage(counted.backbone_share()), quantity(static_cast<double>(counted.total())));
  text += fmt::format("training: {} FLOPs a token, {} steps of {} tokens\n",
                      quantity(training_flops_per_token(plan.config)), plan.config.train.steps,
                      plan.config.train.tokens_per_step);
  if (plan.needs) {
    const auto& needs = *plan.needs;
    text += fmt::format(
        "machines: {:.3g} device-hours, {:.3g} hours on {} devices; {} of state on each and {} of activations: {}\n",
        needs.device_hours, needs.hours, plan.request.cluster->devices, gibibytes(needs.state_bytes),
        gibibytes(needs.activation_bytes),
        needs.fits ? (plan.config.dist.sharding == Sharding::none
                          ? "fits on one device"
                          : fmt::format("fits on each of {} devices", plan.request.cluster->devices))
        : needs.least_devices > 0
            ? fmt::format("does not fit; with dist.sharding = \"gradients\", {} devices hold it", needs.least_devices)
            : "does not fit, and no number of these devices holds it: lower train.micro_batch_tokens, or take devices "
              "with more memory");
  }
  text += "\n" + share_table(plan).text();
  text += plan.savings.empty()
              ? "\nno plain transformer was among the fitted runs, so nothing is said of what is saved\n"
              : "\nagainst a plain transformer of equal loss\n" + saving_table(plan).text();
  for (const auto& warning : plan.warnings) text += fmt::format("note: {}\n", warning);
  return text;
}

ChartPage plan_page(const Plan& plan) {
  const auto& best = plan.best;
  ChartPage page{"dlcm plan",
                 fmt::format("{} FLOPs at {:g} tokens per concept", quantity(plan.request.flops), plan.request.ratio),
                 {},
                 {}};
  page.verdicts.push_back(fmt::format(
      "Best: {} non-embedding parameters, {} of them in the backbone, trained on {} tokens, to a stable loss of {:.4f} "
      "nats "
      "per token.",
      quantity(best.scale.parameters), percentage(best.scale.backbone_share), quantity(best.tokens), best.loss));
  for (const auto& warning : plan.warnings) page.verdicts.push_back(warning + ".");

  Chart chart{.title = "Loss over the backbone's share",
              .note = "Best size at each P for this budget; lower is better.",
              .x = "P, %",
              .y = "nats per token"};
  for (const auto& [ratio, optimum] : plan.shares) {
    const auto name = fmt::format("R = {:g}", ratio);
    if (chart.series.empty() || chart.series.back().name != name) chart.series.push_back({.name = name});
    chart.series.back().points.push_back({100.0 * optimum.scale.backbone_share, optimum.loss});
  }
  page.sections.push_back({"Where to spend the parameters", "", {chart}, share_table(plan).html("Loss over P and R")});
  if (!plan.savings.empty()) {
    Chart saved{.title = "FLOPs saved",
                .note = "Against the best plain transformer of equal loss; above zero the DLCM needs fewer.",
                .x = "FLOPs of the DLCM",
                .y = "saved, %",
                .series = {{.name = "saved"}},
                .logarithmic_x = true};
    Chart losses{.title = "Loss over compute",
                 .note = "The best of each budget at the stable learning rate.",
                 .x = "FLOPs",
                 .y = "nats per token",
                 .series = {{.name = "DLCM"}, {.name = "plain transformer"}},
                 .logarithmic_x = true};
    for (const auto& saving : plan.savings) {
      losses.series[0].points.push_back({saving.flops, saving.optimum.loss});
      if (!saving.saved()) continue;
      saved.series[0].points.push_back({saving.flops, 100.0 * *saving.saved()});
      losses.series[1].points.push_back({saving.baseline.flops, saving.optimum.loss});
    }
    page.sections.push_back(
        {"Against a plain transformer", "", {saved, losses}, saving_table(plan).html("FLOPs saved")});
  }
  page.sections.push_back({"Numbers", fmt::format("<pre>{}</pre>\n", plan_text(plan)), {}, ""});
  return page;
}

ChartPage fit_page(const FitFile& fit, const std::vector<RunCurve>& curves) {
  ChartPage page{"dlcm fit", fmt::format("The scaling law of {} runs", fit.runs), {}, {}};
  page.verdicts.push_back(
      fmt::format("With P and R the law explains R² = {:.4f} of the curves (largest error {:.4f} nats, {} without what "
                  "all runs share at the same tokens) and predicts configurations it has not seen with an error of {} "
                  "nats; without P and R of {}.",
                  fit.quality.r_squared, fit.quality.largest_error,
                  number_or_none(fit.quality.largest_error_between_runs), number_or_none(fit.left_out_error()),
                  number_or_none(fit.plain_left_out_error)));
  page.verdicts.push_back(
      fit.seed_noise ? fmt::format("Another seed changes the last stable loss by {:.4f} nats (standard deviation).",
                                   fit.seed_noise->deviation)
                     : "No configuration was trained with two seeds, so the noise is not known.");
  Chart fitted{.title = "Curves and law",
               .note = "Points: measured. Dashed: the law.",
               .x = "tokens",
               .y = "nats per token",
               .logarithmic_x = true,
               .wide = true};
  Chart predicted{.title = "Configurations left out",
                  .note = "Last stable loss; on the dashed line the prediction is exact.",
                  .x = "measured, nats",
                  .y = "predicted, nats",
                  .series = {{.name = "left out", .scattered = true}, {.name = "exact", .dashed = true}}};
  for (const auto& curve : curves) {
    const auto& run = curve.trajectory;
    const auto name = run.scale.baseline ? fmt::format("plain, N {}", quantity(run.scale.parameters))
                                         : fmt::format("N {}, P {}, R {:g}", quantity(run.scale.parameters),
                                                       percentage(run.scale.backbone_share), run.scale.ratio);
    ChartSeries measured{.name = name, .scattered = true};
    ChartSeries law{.name = name + ", law", .dashed = true};
    measured.colour = law.colour = static_cast<int64_t>(fitted.series.size() / 2);
    for (const auto& point : run.points) {
      measured.points.push_back({point.tokens, point.loss});
      law.points.push_back({point.tokens, fit.law.loss(run.scale, point.tokens)});
    }
    fitted.series.push_back(measured);
    fitted.series.push_back(law);
  }
  Table left_out({"N", "P", "R", "tokens", "measured", "predicted"},
                 {"N", "P", "R", "tokens", "measured", "predicted"});
  double least = 1e300, most = -1e300;
  for (const auto& [scale, tokens, measured, prediction] : fit.left_out) {
    predicted.series[0].points.push_back({measured, prediction});
    least = std::min(least, measured);
    most = std::max(most, measured);
    left_out.add({csv_number(scale.parameters), csv_number(scale.backbone_share), csv_number(scale.ratio),
                  csv_number(tokens), csv_number(measured), csv_number(prediction)},
                 {quantity(scale.parameters), percentage(scale.backbone_share), fmt::format("{:g}", scale.ratio),
                  quantity(tokens), fmt::format("{:.4f}", measured), fmt::format("{:.4f}", prediction)});
  }
  predicted.series[1].points = {{least, least}, {most, most}};
  page.sections.push_back({"Law", fmt::format("<pre>{}</pre>\n", fit_text(fit)),
                           fit.left_out.empty() ? std::vector{fitted} : std::vector{fitted, predicted},
                           left_out.html("Configurations left out")});
  return page;
}

}  // namespace dlcm
