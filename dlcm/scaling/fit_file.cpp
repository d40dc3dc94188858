#include "dlcm/scaling/fit_file.h"

#include "dlcm/analysis/table.h"
#include "dlcm/infer/evaluation.h"
#include "dlcm/io/files.h"
#include "dlcm/model/flops.h"
#include "dlcm/util/error.h"
#include "dlcm/util/progress.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>

namespace dlcm {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kFormat = 1;

std::string_view name_of(LossKind kind) { return kind == LossKind::training ? "training" : "validation"; }

void widen(FittedRange& range, double value, bool first) {
  range = first ? FittedRange{value, value} : FittedRange{std::min(range.least, value), std::max(range.most, value)};
}

ordered_json to_json(const FittedRange& range) { return {range.least, range.most}; }

FittedRange range_from(const ordered_json& json) { return {json.at(0).get<double>(), json.at(1).get<double>()}; }

ordered_json to_json(const FitQuality& quality) {
  return {
      {"r_squared", quality.r_squared}, {"largest_error", quality.largest_error}, {"mean_error", quality.mean_error}};
}

FitQuality quality_from(const ordered_json& json) {
  return {json.at("r_squared").get<double>(), json.at("largest_error").get<double>(),
          json.at("mean_error").get<double>()};
}

}  // namespace

FitFile fit_curves(const std::vector<RunCurve>& curves, const FitRequest& request) {
  FitFile fit;
  fit.loss = request.loss;
  std::vector<Trajectory> runs, without_baseline;
  for (const auto& curve : curves) {
    const auto& trajectory = curve.trajectory;
    runs.push_back(trajectory);
    fit.points += static_cast<int64_t>(trajectory.points.size());
    const double parameters = trajectory.scale.parameters;
    if (trajectory.scale.baseline) {
      ++fit.baseline_runs;
      const bool larger = !fit.baseline_config ||
                          parameters > static_cast<double>(count_parameters(*fit.baseline_config).non_embedding());
      if (larger) fit.baseline_config = curve.config;
      continue;
    }
    const bool first = without_baseline.empty();
    if (first || parameters > fit.parameters.most) fit.config = curve.config;
    widen(fit.parameters, parameters, first);
    widen(fit.tokens, trajectory.points.front().tokens, first);
    widen(fit.tokens, trajectory.points.back().tokens, false);
    widen(fit.share, trajectory.scale.backbone_share, first);
    widen(fit.ratio, trajectory.scale.ratio, first);
    without_baseline.push_back(trajectory);
  }
  fit.runs = static_cast<int64_t>(runs.size());

  const FitSettings joint{LawForm::joint, request.starts, request.seed};
  const FitSettings plain{LawForm::size_and_data, request.starts, request.seed};
  fit.law = fit_law(runs, joint);
  fit.quality = quality_of(fit.law, runs);
  fit.left_out = left_out_predictions(runs, fit.law, joint);
  const auto plain_law = fit_law(without_baseline, plain);
  fit.plain_quality = quality_of(plain_law, without_baseline);
  fit.plain_left_out_error = root_mean_square_error(left_out_predictions(without_baseline, plain_law, plain));
  fit.seed_noise = seed_noise(runs);
  fit.decay = fit_decay(runs);
  if (request.samples > 0) {
    // In parts, to show how far it is.
    constexpr int64_t kPart = 10;
    ProgressLine line({.label = "bootstrap", .total = request.samples, .first_step = 0, .stream = stderr, .clock = {}});
    auto settings = joint;
    while (static_cast<int64_t>(fit.bootstrap.size()) < request.samples) {
      const auto part = std::min(kPart, request.samples - static_cast<int64_t>(fit.bootstrap.size()));
      ++settings.seed;
      for (const auto& law : bootstrap_laws(runs, fit.law, part, settings)) fit.bootstrap.push_back(law);
      line.update(static_cast<int64_t>(fit.bootstrap.size()));
    }
  }
  return fit;
}

ordered_json to_json(const FitFile& fit) {
  ordered_json json{
      {"format", kFormat},
      {"loss", name_of(fit.loss)},
      {"runs", fit.runs},
      {"baseline_runs", fit.baseline_runs},
      {"points", fit.points},
      {"law", to_json(fit.law)},
      {"quality", to_json(fit.quality)},
      {"plain_quality", to_json(fit.plain_quality)},
      {"left_out_error", fit.left_out_error()},
      {"plain_left_out_error", fit.plain_left_out_error},
      {"seed_noise", fit.seed_noise ? ordered_json(*fit.seed_noise) : ordered_json()},
      {"parameters", to_json(fit.parameters)},
      {"tokens", to_json(fit.tokens)},
      {"share", to_json(fit.share)},
      {"ratio", to_json(fit.ratio)},
      {"decay", nullptr},
      {"config", to_toml(fit.config)},
      {"baseline_config", fit.baseline_config ? ordered_json(to_toml(*fit.baseline_config)) : ordered_json()}};
  if (fit.decay) {
    json["decay"] = {
        {"k", fit.decay->factor},        {"a", fit.decay->loss_exponent},     {"b", fit.decay->ratio_exponent},
        {"c", fit.decay->size_exponent}, {"r_squared", fit.decay->r_squared}, {"runs", fit.decay->runs}};
  }
  json["left_out"] = ordered_json::array();
  for (const auto& [scale, tokens, measured, predicted] : fit.left_out) {
    json["left_out"].push_back({{"N", scale.parameters},
                                {"P", scale.backbone_share},
                                {"R", scale.ratio},
                                {"tokens", tokens},
                                {"measured", measured},
                                {"predicted", predicted}});
  }
  json["bootstrap"] = ordered_json::array();
  for (const auto& law : fit.bootstrap) json["bootstrap"].push_back(to_json(law));
  return json;
}

FitFile load_fit(const std::string& path) {
  const auto json = ordered_json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("format", ordered_json()) != ordered_json(kFormat)) {
    throw Error("expected a file that `dlcm fit` wrote (format {}), found another in {}: run dlcm fit again", kFormat,
                path);
  }
  try {
    FitFile fit;
    fit.loss = json.at("loss") == "training" ? LossKind::training : LossKind::validation;
    fit.law = law_from_json(json.at("law"), path);
    for (const auto& law : json.at("bootstrap")) fit.bootstrap.push_back(law_from_json(law, path));
    fit.quality = quality_from(json.at("quality"));
    fit.plain_quality = quality_from(json.at("plain_quality"));
    fit.plain_left_out_error = json.at("plain_left_out_error").get<double>();
    if (!json.at("seed_noise").is_null()) fit.seed_noise = json.at("seed_noise").get<double>();
    for (const auto& entry : json.at("left_out")) {
      fit.left_out.push_back({.scale = {.parameters = entry.at("N").get<double>(),
                                        .backbone_share = entry.at("P").get<double>(),
                                        .ratio = entry.at("R").get<double>()},
                              .tokens = entry.at("tokens").get<double>(),
                              .measured = entry.at("measured").get<double>(),
                              .predicted = entry.at("predicted").get<double>()});
    }
    if (const auto& decay = json.at("decay"); !decay.is_null()) {
      fit.decay =
          DecayLaw{decay.at("k").get<double>(), decay.at("a").get<double>(),         decay.at("b").get<double>(),
                   decay.at("c").get<double>(), decay.at("r_squared").get<double>(), decay.at("runs").get<int64_t>()};
    }
    fit.runs = json.at("runs").get<int64_t>();
    fit.baseline_runs = json.at("baseline_runs").get<int64_t>();
    fit.points = json.at("points").get<int64_t>();
    fit.parameters = range_from(json.at("parameters"));
    fit.tokens = range_from(json.at("tokens"));
    fit.share = range_from(json.at("share"));
    fit.ratio = range_from(json.at("ratio"));
    fit.config = parse_config(json.at("config").get<std::string>(), path + ", config");
    if (const auto& baseline = json.at("baseline_config"); !baseline.is_null()) {
      fit.baseline_config = parse_config(baseline.get<std::string>(), path + ", baseline_config");
    }
    return fit;
  } catch (const ordered_json::exception& error) {
    throw Error("{} is no whole file of `dlcm fit` ({}): run dlcm fit again", path, error.what());
  }
}

std::string fit_text(const FitFile& fit) {
  std::map<std::string, std::vector<double>> samples;
  for (const auto& law : fit.bootstrap) {
    ScalingLaw::fields(law, [&](const char* name, double value) { samples[name].push_back(value); });
  }
  Table parameters({"parameter", "value", "low", "high"}, {"parameter", "value", "5 %", "95 %"});
  ScalingLaw::fields(fit.law, [&](const char* name, double value) {
    if (!fit.law.has_baseline() && std::string_view(name).ends_with("llama")) return;
    auto& values = samples[name];
    std::sort(values.begin(), values.end());
    const auto quantile = [&](double q) {
      return values.empty() ? "" : fmt::format("{:.4g}", quantile_of_sorted(values, q));
    };
    parameters.add({name, fmt::format("{:.4g}", value), quantile(0.05), quantile(0.95)});
  });
  auto text = fmt::format("{} runs ({} of them plain transformers), {} points of {} loss\n\n{}\n", fit.runs,
                          fit.baseline_runs, fit.points, name_of(fit.loss), parameters.text());
  Table quality({"form", "r_squared", "largest_error", "mean_error", "left_out_error"},
                {"form", "R²", "largest error", "mean error", "left-out error"});
  const auto row = [&](const char* name, const FitQuality& of, double left_out) {
    quality.add({name, fmt::format("{:.4f}", of.r_squared), fmt::format("{:.4f}", of.largest_error),
                 fmt::format("{:.4f}", of.mean_error), fmt::format("{:.4f}", left_out)});
  };
  row("with P and R", fit.quality, fit.left_out_error());
  row("without", fit.plain_quality, fit.plain_left_out_error);
  text += quality.text();
  text +=
      "errors in nats per token; left-out: root mean square error of the last stable loss of a configuration that the "
      "fit has not seen\n";
  text += fit.seed_noise ? fmt::format("seed noise: {:.4f} nats\n", *fit.seed_noise)
                         : "seed noise: unknown, no configuration has two seeds\n";
  if (fit.decay) {
    text += fmt::format("decay: gain = {:.4g} L^{:.3f} R^{:.3f} N^{:.3f}, R² {:.3f} over {} runs\n", fit.decay->factor,
                        fit.decay->loss_exponent, fit.decay->ratio_exponent, fit.decay->size_exponent,
                        fit.decay->r_squared, fit.decay->runs);
  } else {
    text += "decay: too few runs with a finished decay\n";
  }
  return text;
}

}  // namespace dlcm
