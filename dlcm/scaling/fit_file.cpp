#include "dlcm/scaling/fit_file.h"

#include "dlcm/analysis/table.h"
#include "dlcm/io/files.h"
#include "dlcm/util/error.h"
#include "dlcm/util/progress.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <utility>

namespace dlcm {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kFormat = 3;

std::string_view name_of(LossKind kind) { return kind == LossKind::training ? "training" : "validation"; }

ordered_json to_json(const FittedRange& range) { return {range.least, range.most}; }

FittedRange range_from(const ordered_json& json) { return {json.at(0).get<double>(), json.at(1).get<double>()}; }

ordered_json to_json(const std::optional<double>& value) { return value ? ordered_json(*value) : ordered_json(); }

std::optional<double> number_from(const ordered_json& json) {
  return json.is_null() ? std::nullopt : std::optional(json.get<double>());
}

ordered_json to_json(const FitQuality& quality) {
  return {{"r_squared", quality.r_squared},
          {"largest_error", quality.largest_error},
          {"mean_error", quality.mean_error},
          {"largest_error_between_runs", to_json(quality.largest_error_between_runs)}};
}

FitQuality quality_from(const ordered_json& json) {
  return {json.at("r_squared").get<double>(), json.at("largest_error").get<double>(),
          json.at("mean_error").get<double>(), number_from(json.at("largest_error_between_runs"))};
}

// Each parameter with its interval, in the order of ScalingLaw::fields; none without a bootstrap.
std::vector<std::pair<std::string, Interval>> intervals_of(const FitFile& fit) {
  std::map<std::string, std::vector<double>> samples;
  for (const auto& law : fit.bootstrap) {
    ScalingLaw::fields(law, [&](const char* name, double value) { samples[name].push_back(value); });
  }
  std::vector<std::pair<std::string, Interval>> intervals;
  ScalingLaw::fields(fit.law, [&](const char* name, double value) {
    // A term that was not fitted is 0.
    if (value > 0.0 && !samples.empty()) intervals.emplace_back(name, interval_of(samples[name]));
  });
  return intervals;
}

// One law has one kind of text and one length of context, and P and R that say something of every DLCM.
void check_curves(const std::vector<RunCurve>& curves) {
  for (const auto& [trajectory, config] : curves) {
    const auto& first = curves.front();
    const auto check_same = [&](const char* key, int64_t expected, int64_t found) {
      if (found == expected) return;
      throw Error("expected one {} of all runs, found {} in {} and {} in {}: fit them apart", key, expected,
                  first.trajectory.name, found, trajectory.name);
    };
    check_same("model.vocabulary", first.config.model.vocabulary, config.model.vocabulary);
    check_same("train.context", first.config.train.context, config.train.context);
    if (trajectory.scale.baseline) continue;
    if (config.model.concepts.layers == 0) {
      throw Error("expected DLCM runs with a backbone, found model.concept.layers = 0 in {}: leave it out",
                  trajectory.name);
    }
    if (const auto rule = config.parser.rule; rule == BoundaryRule::cosine || rule == BoundaryRule::whitespace) {
      throw Error(
          "expected DLCM runs whose boundaries follow parser.ratio, found parser.rule = \"{}\" in {}: leave it out",
          rule == BoundaryRule::cosine ? "cosine" : "whitespace", trajectory.name);
    }
  }
}

}  // namespace

void FittedRange::add(double value) {
  least = std::min(least, value);
  most = std::max(most, value);
}

bool FittedRange::holds(double value) const {
  constexpr double kSlack = 1.001;
  return value * kSlack >= least && value <= most * kSlack;
}

FitFile fit_curves(const std::vector<RunCurve>& curves, const FitRequest& request) {
  check_curves(curves);
  FitFile fit;
  fit.loss = request.loss;
  std::vector<Trajectory> runs;
  for (const auto& curve : curves) {
    const auto& trajectory = curve.trajectory;
    runs.push_back(trajectory);
    fit.points += static_cast<int64_t>(trajectory.points.size());
    const double parameters = trajectory.scale.parameters;
    if (trajectory.scale.baseline) {
      ++fit.baseline_runs;
      if (parameters > fit.baseline_parameters.most) fit.baseline_config = curve.config;
      fit.baseline_parameters.add(parameters);
      for (const auto& point : trajectory.points) fit.baseline_tokens.add(point.tokens);
      continue;
    }
    if (parameters > fit.parameters.most) fit.config = curve.config;
    fit.parameters.add(parameters);
    for (const auto& point : trajectory.points) fit.tokens.add(point.tokens);
    fit.share.add(trajectory.scale.backbone_share);
    fit.ratio.add(trajectory.scale.ratio);
  }
  fit.runs = static_cast<int64_t>(runs.size());
  fit.decay = fit_decay(runs);  // first, since it refuses runs

  const FitSettings joint{LawForm::joint, request.starts, request.seed};
  const FitSettings plain{LawForm::size_and_data, request.starts, request.seed};
  fit.law = fit_law(runs, joint);
  fit.at_bounds = parameters_at_bounds(fit.law, runs);
  fit.quality = quality_of(fit.law, runs);
  fit.left_out = left_out_predictions(runs, fit.law, joint);
  const auto plain_law = fit_law(runs, plain);
  fit.plain_quality = quality_of(plain_law, runs);
  fit.plain_left_out_error = root_mean_square_error(left_out_predictions(runs, plain_law, plain));
  fit.seed_noise = seed_noise(runs);
  fit.decays_without_gain = decays_without_gain(runs);
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
      {"intervals", ordered_json::object()},
      {"at_bounds", fit.at_bounds},
      {"quality", to_json(fit.quality)},
      {"plain_quality", to_json(fit.plain_quality)},
      {"left_out_error", to_json(fit.left_out_error())},
      {"plain_left_out_error", to_json(fit.plain_left_out_error)},
      {"seed_noise", fit.seed_noise ? ordered_json(fit.seed_noise->deviation) : ordered_json()},
      {"seed_noise_freedom", fit.seed_noise ? fit.seed_noise->freedom : 0},
      {"parameters", to_json(fit.parameters)},
      {"tokens", to_json(fit.tokens)},
      {"share", to_json(fit.share)},
      {"ratio", to_json(fit.ratio)},
      {"baseline_parameters", fit.baseline_config ? to_json(fit.baseline_parameters) : ordered_json()},
      {"baseline_tokens", fit.baseline_config ? to_json(fit.baseline_tokens) : ordered_json()},
      {"decay", nullptr},
      {"decays_without_gain", fit.decays_without_gain},
      {"config", to_toml(fit.config)},
      {"baseline_config", fit.baseline_config ? ordered_json(to_toml(*fit.baseline_config)) : ordered_json()}};
  for (const auto& [name, interval] : intervals_of(fit)) json["intervals"][name] = {interval.low, interval.high};
  if (fit.decay) {
    json["decay"] = {{"k", fit.decay->factor},
                     {"a", fit.decay->loss_exponent},
                     {"b", fit.decay->ratio_exponent},
                     {"c", fit.decay->size_exponent},
                     {"r_squared", fit.decay->r_squared},
                     {"runs", fit.decay->runs},
                     {"decay_fraction", fit.decay->decay_fraction}};
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
    fit.at_bounds = json.at("at_bounds").get<std::vector<std::string>>();
    fit.quality = quality_from(json.at("quality"));
    fit.plain_quality = quality_from(json.at("plain_quality"));
    fit.plain_left_out_error = number_from(json.at("plain_left_out_error"));
    if (const auto noise = number_from(json.at("seed_noise"))) {
      fit.seed_noise = SeedNoise{*noise, json.at("seed_noise_freedom").get<int64_t>()};
    }
    for (const auto& entry : json.at("left_out")) {
      fit.left_out.push_back({.scale = {.parameters = entry.at("N").get<double>(),
                                        .backbone_share = entry.at("P").get<double>(),
                                        .ratio = entry.at("R").get<double>()},
                              .tokens = entry.at("tokens").get<double>(),
                              .measured = entry.at("measured").get<double>(),
                              .predicted = entry.at("predicted").get<double>()});
    }
    if (const auto& decay = json.at("decay"); !decay.is_null()) {
      fit.decay = DecayLaw{.factor = decay.at("k").get<double>(),
                           .loss_exponent = decay.at("a").get<double>(),
                           .ratio_exponent = decay.at("b").get<double>(),
                           .size_exponent = decay.at("c").get<double>(),
                           .r_squared = decay.at("r_squared").get<double>(),
                           .runs = decay.at("runs").get<int64_t>(),
                           .decay_fraction = decay.at("decay_fraction").get<double>()};
    }
    fit.decays_without_gain = json.at("decays_without_gain").get<int64_t>();
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
      fit.baseline_parameters = range_from(json.at("baseline_parameters"));
      fit.baseline_tokens = range_from(json.at("baseline_tokens"));
    }
    return fit;
  } catch (const ordered_json::exception& error) {
    throw Error("{} is no whole file of `dlcm fit` ({}): run dlcm fit again", path, error.what());
  }
}

std::string number_or_none(const std::optional<double>& error) { return error ? fmt::format("{:.4f}", *error) : "none"; }

std::string fit_text(const FitFile& fit) {
  std::map<std::string, Interval> intervals;
  for (const auto& [name, interval] : intervals_of(fit)) intervals[name] = interval;
  Table parameters({"parameter", "value", "low", "high"}, {"parameter", "value", "5 %", "95 %"});
  ScalingLaw::fields(fit.law, [&](const char* name, double value) {
    if (!fit.law.has_baseline() && std::string_view(name).ends_with("llama")) return;
    const auto found = intervals.find(name);
    const auto show = [&](double Interval::*end) {
      return found == intervals.end() ? "" : fmt::format("{:.4g}", found->second.*end);
    };
    parameters.add({name, fmt::format("{:.4g}", value), show(&Interval::low), show(&Interval::high)});
  });
  auto text = fmt::format("{} runs ({} of them plain transformers), {} points of {} loss\n\n{}\n", fit.runs,
                          fit.baseline_runs, fit.points, name_of(fit.loss), parameters.text());
  Table quality({"form", "r_squared", "largest_error", "between_runs", "mean_error", "left_out_error"},
                {"form", "R²", "largest error", "between runs", "mean error", "left-out error"});
  const auto row = [&](const char* name, const FitQuality& of, const std::optional<double>& left_out) {
    quality.add({name, fmt::format("{:.4f}", of.r_squared), fmt::format("{:.4f}", of.largest_error),
                 number_or_none(of.largest_error_between_runs), fmt::format("{:.4f}", of.mean_error), number_or_none(left_out)});
  };
  row("with P and R", fit.quality, fit.left_out_error());
  row("without", fit.plain_quality, fit.plain_left_out_error);
  if (!fit.at_bounds.empty()) {
    text += fmt::format("at a bound of the search, so that these runs do not determine them: {}\n\n",
                        fmt::join(fit.at_bounds, ", "));
  }
  text += quality.text();
  text +=
      "errors in nats per token; between runs: the largest without what all runs of one seed share at the same tokens "
      "(the documents' noise, and what the term in tokens misses); left-out: root mean square error of the last stable loss of a configuration that the "
      "fit has not seen\n";
  text += fit.seed_noise ? fmt::format("seed noise: {:.4f} nats, from {} degrees of freedom\n",
                                       fit.seed_noise->deviation, fit.seed_noise->freedom)
                         : "seed noise: unknown, no configuration has two seeds of equal length\n";
  if (fit.decay) {
    text += fmt::format("decay: gain = {:.4g} L^{:.3f} R^{:.3f} N^{:.3f}, R² {:.3f} over {} runs\n", fit.decay->factor,
                        fit.decay->loss_exponent, fit.decay->ratio_exponent, fit.decay->size_exponent,
                        fit.decay->r_squared, fit.decay->runs);
  } else {
    text += "decay: too few runs with a finished decay that gained something\n";
  }
  if (fit.decays_without_gain > 0) {
    text += fmt::format("decays left out, since they gained nothing: {}\n", fit.decays_without_gain);
  }
  return text;
}

}  // namespace dlcm
