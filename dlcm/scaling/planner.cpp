#include "dlcm/scaling/planner.h"

#include "dlcm/scaling/trajectories.h"
#include "dlcm/train/rank_memory.h"
#include "dlcm/util/edit_distance.h"
#include "dlcm/util/error.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace dlcm {
namespace {

constexpr double kMostParameters = 1e14;
constexpr int kCoarse = 24;
constexpr double kTolerance = 1e-4;  // of the logarithm of N, and of P
constexpr double kLargestBudgetFactor = 1e6;

// The place of the least value of `function` found in [low, high]: the best of evenly spaced places, then of golden
// sections beside it; `low` where all are infinite.
double minimum_of(double low, double high, const std::function<double(double)>& function) {
  const double step = (high - low) / kCoarse;
  double best = low, least = std::numeric_limits<double>::infinity();
  const auto at = [&](double place) {
    const double value = function(place);
    if (value < least) {
      least = value;
      best = place;
    }
    return value;
  };
  for (int i = 0; i <= kCoarse; ++i) at(low + i * step);
  double begin = std::max(low, best - step), end = std::min(high, best + step);
  constexpr double kGolden = 0.6180339887498949;
  double left = end - kGolden * (end - begin), right = begin + kGolden * (end - begin);
  double at_left = at(left), at_right = at(right);
  while (end - begin > kTolerance) {
    // Of two infinite ones the left: too large a model is what makes them so.
    if (at_left <= at_right) {
      end = right;
      right = left;
      at_right = at_left;
      left = end - kGolden * (end - begin);
      at_left = at(left);
    } else {
      begin = left;
      left = right;
      at_left = at_right;
      right = begin + kGolden * (end - begin);
      at_right = at(right);
    }
  }
  return best;
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
  const auto tokens_per_step = static_cast<double>(family.base().train.tokens_per_step);
  const auto loss_at = [&](double tokens) {
    return tokens < tokens_per_step ? std::numeric_limits<double>::infinity() : law.loss(scale, tokens);
  };
  const double best = minimum_of(std::log(kLeastParameters), std::log(kMostParameters),
                                 [&](double logarithm) { return loss_at(tokens_of(logarithm)); });
  const double tokens = tokens_of(best);
  return {scale, tokens, loss_at(tokens)};
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
    losses.push_back(law.loss(planned.scale, planned.tokens));
  }
  planned.parameters_interval = interval_of(parameters);
  planned.share_interval = interval_of(shares);
  planned.tokens_interval = interval_of(tokens);
  planned.loss_interval = interval_of(losses);
  return planned;
}

double loss_after_decay(const ScalingLaw& law, const DecayLaw& decay, const RunScale& scale, double tokens) {
  const double stable = law.loss(scale, tokens * (1.0 - decay.decay_fraction) * (1.0 - kStableShare / 2.0));
  return stable - decay.gain(scale, stable);
}

BaselineNeed baseline_need(const ScalingLaw& law, const Family& family, double loss, double around) {
  const auto need_at = [&](double logarithm, BaselineNeed::Kind kind) {
    const double flops = std::exp(logarithm);
    return BaselineNeed{kind, flops, best_size(law, family, flops, {.baseline = true})};
  };
  double low = std::log(around / kLargestBudgetFactor), high = std::log(around * kLargestBudgetFactor);
  if (const auto most = need_at(high, BaselineNeed::Kind::more); most.optimum.loss > loss) return most;
  if (const auto least = need_at(low, BaselineNeed::Kind::less); least.optimum.loss < loss) return least;
  while (high - low > kTolerance) {
    const double middle = 0.5 * (low + high);
    (need_at(middle, BaselineNeed::Kind::found).optimum.loss > loss ? low : high) = middle;
  }
  return need_at(high, BaselineNeed::Kind::found);
}

Saving saving_at(const PlannerInput& input, double flops, double ratio) {
  const auto optimum = best_share(input.law, *input.family, flops, ratio);
  return {flops, optimum, baseline_need(input.law, *input.baseline_family, optimum.loss, flops)};
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
  const double devices = number_of(*table, "devices", 1, 1e7, path);
  if (devices != std::floor(devices)) {
    throw Error("{}: cluster.devices expects a whole number from 1 to 1e7, found {}", path, devices);
  }
  cluster.devices = std::llround(devices);
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
  const auto whole = training_memory(parameters);
  const double left = cluster.memory_bytes - needs.activation_bytes - static_cast<double>(whole.weights_bytes);
  const auto divided = static_cast<double>(whole.gradients_bytes + whole.optimizer_bytes);
  needs.least_devices = left <= 0.0 ? 0 : std::max<int64_t>(1, static_cast<int64_t>(std::ceil(divided / left)));
  return needs;
}

}  // namespace dlcm
