#include "dlcm/scaling/planner.h"

#include "dlcm/infer/evaluation.h"
#include "dlcm/train/rank_memory.h"
#include "dlcm/util/edit_distance.h"
#include "dlcm/util/error.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace dlcm {
namespace {

constexpr double kLeastParameters = 1e2;
constexpr double kMostParameters = 1e14;
constexpr double kLeastShare = 0.02, kMostShare = 0.98;
constexpr int kCoarse = 24;
constexpr double kTolerance = 1e-4;  // of the logarithm of N, and of P
constexpr double kLargestBudgetFactor = 1e6;

// The place of the least value of `function` in [low, high]: the best of evenly spaced places, then golden sections
// beside it.
double minimum_of(double low, double high, const std::function<double(double)>& function) {
  const double step = (high - low) / kCoarse;
  double best = low, least = function(low);
  for (int i = 1; i <= kCoarse; ++i) {
    const double value = function(low + i * step);
    if (value < least) {
      least = value;
      best = low + i * step;
    }
  }
  double begin = std::max(low, best - step), end = std::min(high, best + step);
  constexpr double kGolden = 0.6180339887498949;
  double left = end - kGolden * (end - begin), right = begin + kGolden * (end - begin);
  double at_left = function(left), at_right = function(right);
  while (end - begin > kTolerance) {
    if (at_left < at_right) {
      end = right;
      right = left;
      at_right = at_left;
      left = end - kGolden * (end - begin);
      at_left = function(left);
    } else {
      begin = left;
      left = right;
      at_left = at_right;
      right = begin + kGolden * (end - begin);
      at_right = function(right);
    }
  }
  return 0.5 * (begin + end);
}

Interval interval_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {quantile_of_sorted(values, 0.05), quantile_of_sorted(values, 0.95)};
}

double number_of(const toml::table& table, const std::string& key, double low, double high, const std::string& path) {
  const auto* node = table.get(key);
  const auto value = node != nullptr && node->is_number() ? node->value<double>() : std::nullopt;
  if (!value || !(*value >= low && *value <= high)) {
    throw Error("{}: cluster.{} expects a number from {} to {}{}", path, key, low, high,
                node == nullptr ? ", found none" : "");
  }
  return *value;
}

}  // namespace

Optimum best_size(const ScalingLaw& law, const Family& family, double flops, RunScale scale) {
  const auto tokens_of = [&](double logarithm) {
    scale.parameters = std::exp(logarithm);
    return flops / family.training_flops_per_token(scale);
  };
  const double best = minimum_of(std::log(kLeastParameters), std::log(kMostParameters), [&](double logarithm) {
    const double tokens = tokens_of(logarithm);
    return law.loss(scale, tokens);
  });
  const double tokens = tokens_of(best);
  return {scale, tokens, law.loss(scale, tokens)};
}

Optimum best_share(const ScalingLaw& law, const Family& family, double flops, double ratio) {
  const auto at_share = [&](double share) {
    return best_size(law, family, flops, {.backbone_share = share, .ratio = ratio});
  };
  return at_share(minimum_of(kLeastShare, kMostShare, [&](double share) { return at_share(share).loss; }));
}

PlannedOptimum plan_optimum(const PlannerInput& input, double flops, double ratio) {
  PlannedOptimum planned{best_share(input.law, *input.family, flops, ratio), {}, {}, {}, {}};
  if (input.bootstrap.empty()) return planned;
  std::vector<double> parameters, shares, tokens, losses;
  for (const auto& law : input.bootstrap) {
    const auto optimum = best_share(law, *input.family, flops, ratio);
    parameters.push_back(optimum.scale.parameters);
    shares.push_back(optimum.scale.backbone_share);
    tokens.push_back(optimum.tokens);
    losses.push_back(optimum.loss);
  }
  planned.parameters_interval = interval_of(parameters);
  planned.share_interval = interval_of(shares);
  planned.tokens_interval = interval_of(tokens);
  planned.loss_interval = interval_of(losses);
  return planned;
}

std::optional<double> baseline_flops_for(const ScalingLaw& law, const Family& family, double loss, double around) {
  const auto loss_of = [&](double logarithm) {
    return best_size(law, family, std::exp(logarithm), {.baseline = true}).loss;
  };
  double low = std::log(around / kLargestBudgetFactor), high = std::log(around * kLargestBudgetFactor);
  if (loss_of(high) > loss || loss_of(low) < loss) return std::nullopt;
  while (high - low > kTolerance) {
    const double middle = 0.5 * (low + high);
    (loss_of(middle) > loss ? low : high) = middle;
  }
  return std::exp(0.5 * (low + high));
}

Saving saving_at(const PlannerInput& input, double flops, double ratio) {
  const auto optimum = best_share(input.law, *input.family, flops, ratio);
  return {flops, optimum.scale.parameters, optimum.loss,
          baseline_flops_for(input.law, *input.baseline_family, optimum.loss, flops)};
}

Cluster load_cluster(const std::string& path) {
  toml::table file;
  try {
    file = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    throw Error("{}:{}: not a readable TOML file: {}", path, error.source().begin.line, error.description());
  }
  const auto* table = file["cluster"].as_table();
  if (table == nullptr || file.size() != 1) {
    throw Error("expected one table [cluster] with devices, peak_tflops, memory_gib and mfu in {}", path);
  }
  const std::vector<std::string> keys{"devices",   "peak_tflops", "memory_gib", "mfu",
                                      "link_gbit", "latency_us",  "message_us", "slowest_to_mean"};
  for (const auto& [key, value] : *table) {
    if (std::find(keys.begin(), keys.end(), key.str()) == keys.end()) {
      throw Error("{}:{}: unknown key cluster.{}; the nearest known one is cluster.{}", path, value.source().begin.line,
                  key.str(), nearest_name(key.str(), keys));
    }
  }
  Cluster cluster;
  cluster.devices = std::llround(number_of(*table, "devices", 1, 1e7, path));
  cluster.peak_flops = 1e12 * number_of(*table, "peak_tflops", 1e-6, 1e7, path);
  cluster.memory_bytes = std::exp2(30) * number_of(*table, "memory_gib", 1e-3, 1e6, path);
  cluster.mfu = number_of(*table, "mfu", 1e-4, 1.0, path);
  const auto set = [&](const char* key, double low, double high, double unit, double& value) {
    if (table->contains(key)) value = unit * number_of(*table, key, low, high, path);
  };
  set("link_gbit", 1e-6, 1e7, 1e9 / 8, cluster.link_bytes_per_second);
  set("latency_us", 0.0, 1e9, 1e-6, cluster.latency_seconds);
  set("message_us", 0.0, 1e9, 1e-6, cluster.message_seconds);
  set("slowest_to_mean", 1.0, 1e6, 1.0, cluster.slowest_to_mean);
  return cluster;
}

Needs needs_of(const Config& config, double flops, const Cluster& cluster) {
  Needs needs;
  const auto parameters = count_parameters(config);
  needs.state_bytes = static_cast<double>(rank_memory(parameters, cluster.devices, config.dist.sharding).total_bytes());
  needs.activation_bytes = activation_bytes(config, config.train.micro_batch_tokens);
  needs.device_hours = flops / cluster.flops_in(1.0);
  needs.hours = needs.device_hours / static_cast<double>(cluster.devices);
  needs.fits = needs.state_bytes + needs.activation_bytes <= cluster.memory_bytes;
  const double left = cluster.memory_bytes - needs.activation_bytes;
  needs.least_devices =
      left <= 0.0 ? 0
                  : std::max<int64_t>(1, static_cast<int64_t>(std::ceil(
                                             static_cast<double>(training_memory(parameters).total_bytes()) / left)));
  return needs;
}

}  // namespace dlcm
