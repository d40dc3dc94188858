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

void warn_beyond(std::vector<std::string>& warnings, std::string_view what, double value, const FittedRange& range) {
  constexpr double kSlack = 1.001;
  if (value * kSlack >= range.least && value <= range.most * kSlack) return;
  warnings.push_back(fmt::format("{} = {} lies outside what was fitted ({} to {})", what, quantity(value),
                                 quantity(range.least), quantity(range.most)));
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
  const Family family(base);
  std::optional<Family> baseline_family;
  if (baseline) baseline_family.emplace(*baseline);
  const PlannerInput input{fit.law, fit.bootstrap, &family, baseline_family ? &*baseline_family : nullptr};
  Plan plan;
  plan.request = request;
  plan.best = plan_optimum(input, request.flops, request.ratio);
  plan.training_flops_per_token = family.training_flops_per_token(plan.best.scale);
  plan.total_parameters = family.total_parameters(plan.best.scale);
  if (fit.decay) plan.decay_gain = fit.decay->gain(plan.best.scale, plan.best.loss);

  std::set<double> ratios{2.0, 4.0, 8.0, request.ratio};
  for (const double ratio : ratios) {
    for (double share = kShareStep; share < 1.0 - kShareStep / 2; share += kShareStep) {
      plan.shares.push_back(
          {ratio, best_size(fit.law, family, request.flops, {.backbone_share = share, .ratio = ratio})});
    }
  }
  if (input.baseline_family != nullptr && fit.law.has_baseline()) {
    for (int half = -2 * kDecadesBelow; half <= 2 * kDecadesAbove; ++half) {
      plan.savings.push_back(saving_at(input, request.flops * std::pow(10.0, half / 2.0), request.ratio));
    }
  }
  plan.config = family.nearest(plan.best.scale);
  plan.config.train.steps =
      std::max<int64_t>(1, std::llround(plan.best.tokens / static_cast<double>(plan.config.train.tokens_per_step)));
  if (request.cluster) plan.needs = needs_of(plan.config, request.flops, *request.cluster);
  warn_beyond(plan.warnings, "N", plan.best.scale.parameters, fit.parameters);
  warn_beyond(plan.warnings, "P", plan.best.scale.backbone_share, fit.share);
  warn_beyond(plan.warnings, "D", plan.best.tokens, fit.tokens);
  warn_beyond(plan.warnings, "R", request.ratio, fit.ratio);
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
                    {"loss_after_decay", plan.decay_gain ? ordered_json(best.loss - *plan.decay_gain) : ordered_json()},
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
         {"parameters", saving.parameters},
         {"loss", saving.loss},
         {"baseline_flops", saving.baseline_flops ? ordered_json(*saving.baseline_flops) : ordered_json()},
         {"saved", saving.saved() ? ordered_json(*saving.saved()) : ordered_json()}});
  }
  if (plan.needs) {
    json["needs"] = {{"state_bytes", plan.needs->state_bytes},   {"activation_bytes", plan.needs->activation_bytes},
                     {"device_hours", plan.needs->device_hours}, {"hours", plan.needs->hours},
                     {"fits_on_one_device", plan.needs->fits},   {"least_devices", plan.needs->least_devices}};
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
  Table table({"flops", "parameters", "loss", "baseline_flops", "saved"},
              {"FLOPs", "N", "loss, nats", "FLOPs of the plain transformer", "saved"});
  for (const auto& saving : plan.savings) {
    const auto saved = saving.saved();
    table.add({csv_number(saving.flops), csv_number(saving.parameters), csv_number(saving.loss),
               saving.baseline_flops ? csv_number(*saving.baseline_flops) : "", saved ? csv_number(*saved) : ""},
              {quantity(saving.flops), quantity(saving.parameters), fmt::format("{:.4f}", saving.loss),
               saving.baseline_flops ? quantity(*saving.baseline_flops) : "never",
               saved ? signed_percentage(*saved) : std::string(kNothing)});
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
  if (plan.decay_gain) row("loss after the decay", best.loss - *plan.decay_gain, std::nullopt, decimals(4));
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
  text += fmt::format("training: {} FLOPs a token, {} steps of {} tokens\n", quantity(plan.training_flops_per_token),
                      plan.config.train.steps, plan.config.train.tokens_per_step);
  if (plan.needs) {
    const auto& needs = *plan.needs;
    text += fmt::format(
        "machines: {:.3g} device-hours, {:.3g} hours on {} devices; {} of state on each and {} of activations: {}\n",
        needs.device_hours, needs.hours, plan.request.cluster->devices, gibibytes(needs.state_bytes),
        gibibytes(needs.activation_bytes),
        needs.fits ? "fits on one device"
        : needs.least_devices > 0
            ? fmt::format("does not fit; with the state divided, {} devices hold it", needs.least_devices)
            : "does not fit: lower train.micro_batch_tokens");
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
  for (const auto& warning : plan.warnings) page.verdicts.push_back(warning + ": an extrapolation.");

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
      losses.series[0].points.push_back({saving.flops, saving.loss});
      if (!saving.baseline_flops) continue;
      saved.series[0].points.push_back({saving.flops, 100.0 * *saving.saved()});
      losses.series[1].points.push_back({*saving.baseline_flops, saving.loss});
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
      fmt::format("With P and R the law explains R² = {:.4f} of the curves (largest error {:.4f} nats) and predicts "
                  "configurations it has "
                  "not seen to {:.4f} nats; without P and R to {:.4f}.",
                  fit.quality.r_squared, fit.quality.largest_error, fit.left_out_error(), fit.plain_left_out_error));
  page.verdicts.push_back(
      fit.seed_noise ? fmt::format("Another seed changes the last stable loss by {:.4f} nats (standard deviation).",
                                   *fit.seed_noise)
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
  page.sections.push_back({"Law",
                           fmt::format("<pre>{}</pre>\n", fit_text(fit)),
                           {fitted, predicted},
                           left_out.html("Configurations left out")});
  return page;
}

}  // namespace dlcm
