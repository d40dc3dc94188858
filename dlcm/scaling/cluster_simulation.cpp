#include "dlcm/scaling/cluster_simulation.h"

#include "dlcm/model/flops.h"
#include "dlcm/train/buckets.h"
#include "dlcm/train/rank_memory.h"
#include "dlcm/util/error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace dlcm {
namespace {

constexpr double kForwardShare = 1.0 / kTrainingFlopsPerForward;
// Small collectives of a step, each both ways: counts before it, F, the norm, the sums, the report, the signal.
constexpr int kSmallCollectives = 8;

// Buckets of a model of so many parameters, as if it were cut evenly.
std::vector<double> bucket_bytes(const Config& config, int64_t ranks) {
  constexpr int64_t kPiece = 1 << 16;
  const int64_t total = count_parameters(config).total();
  std::vector<int64_t> pieces(static_cast<size_t>(total / kPiece), kPiece);
  if (total % kPiece > 0) pieces.push_back(total % kPiece);
  const Buckets buckets(std::move(pieces), ranks);
  std::vector<double> bytes;
  for (size_t i = 0; i < buckets.size(); ++i) bytes.push_back(4.0 * static_cast<double>(buckets.elements(i)));
  return bytes;
}

}  // namespace

SimulatedStep simulate_step(const Config& config, const Cluster& cluster, int64_t ranks) {
  const auto& train = config.train;
  const int64_t windows = train.tokens_per_step / train.context;
  if (windows < ranks) {
    throw Error(
        "{} devices were asked for, but a step of train.tokens_per_step = {} has {} windows of train.context = {}: "
        "raise train.tokens_per_step, or plan for fewer devices",
        ranks, train.tokens_per_step, windows, train.context);
  }
  SimulatedStep step;
  step.ranks = ranks;
  const int64_t own_windows = (windows + ranks - 1) / ranks;
  const int64_t windows_per_batch = train.micro_batch_tokens / train.context;
  step.micro_batches = (own_windows + windows_per_batch - 1) / windows_per_batch;

  const auto forward = expected_flops_per_token(config);
  const double device_flops = cluster.peak_flops * cluster.mfu;
  const double uneven = ranks > 1 ? cluster.slowest_to_mean : 1.0;
  const double own_tokens = static_cast<double>(own_windows * train.context);
  const double passes = own_tokens * kTrainingFlopsPerForward * forward.total() / device_flops * uneven;
  const bool global = config.model.kind == ModelKind::dlcm && config.parser.rule == BoundaryRule::learned &&
                      config.parser.scope == ParserScope::global;
  const double first_pass =
      global && step.micro_batches > 1 ? own_tokens * (forward.encoder + forward.parser) / device_flops * uneven : 0.0;
  step.compute_seconds = passes + first_pass;

  const auto memory = rank_memory(count_parameters(config), ranks, config.dist.sharding);
  const auto batch_tokens = std::min(train.micro_batch_tokens, own_windows * train.context);
  step.memory_bytes = static_cast<double>(memory.total_bytes()) + activation_bytes(config, batch_tokens);
  if (ranks == 1) return step;

  const double others = static_cast<double>(ranks - 1);
  const auto collective = [&](double bytes) {
    return cluster.latency_seconds + others * cluster.message_seconds +
           bytes * others / static_cast<double>(ranks) / cluster.link_bytes_per_second;
  };
  const auto buckets = bucket_bytes(config, ranks);
  double all_bytes = 0.0;
  for (const double bytes : buckets) all_bytes += bytes;
  const auto sharding = config.dist.sharding;
  step.bytes_sent = bytes_sent_per_step(count_parameters(config), ranks, sharding, step.micro_batches);

  // Gradients become ready evenly over a backward pass, and the link takes the buckets one after the other.
  const double round = passes / static_cast<double>(step.micro_batches);
  double link_free = 0.0;
  const int64_t first_round = sharding == Sharding::gradients ? 0 : step.micro_batches - 1;
  double waited = 0.0;  // for the buckets of earlier rounds
  for (int64_t index = first_round; index < step.micro_batches; ++index) {
    const double begin = first_pass + waited + round * (static_cast<double>(index) + kForwardShare);
    const double backward = round * (1.0 - kForwardShare);
    double ready_bytes = 0.0;
    for (const double bytes : buckets) {
      ready_bytes += bytes;
      const double seconds = (sharding == Sharding::none ? 2.0 : 1.0) * collective(bytes);
      link_free = std::max(link_free, begin + backward * ready_bytes / all_bytes) + seconds;
      step.communication_seconds += seconds;
    }
    waited += std::max(0.0, link_free - (begin + backward));
  }
  step.exposed_seconds = waited;
  // The weights go out after the update.
  if (sharding != Sharding::none) {
    for (const double bytes : buckets) {
      step.communication_seconds += collective(bytes);
      step.exposed_seconds += collective(bytes);
    }
  }
  const double small = kSmallCollectives * 2 * collective(0.0);
  step.communication_seconds += small;
  step.exposed_seconds += small;
  return step;
}

double ClusterPlan::efficiency(const SimulatedStep& step) const {
  return tokens_per_second(step) / tokens_per_second(steps.front()) / static_cast<double>(step.ranks);
}

ClusterPlan plan_cluster(const Config& config, const Cluster& cluster, double tokens) {
  ClusterPlan plan;
  plan.tokens = tokens;
  plan.tokens_per_step = static_cast<double>(config.train.tokens_per_step);
  for (int64_t ranks = 1; ranks < cluster.devices; ranks *= 2)
    plan.steps.push_back(simulate_step(config, cluster, ranks));
  plan.steps.push_back(simulate_step(config, cluster, cluster.devices));
  return plan;
}

nlohmann::ordered_json to_json(const ClusterPlan& plan) {
  nlohmann::ordered_json steps = nlohmann::ordered_json::array();
  for (const auto& step : plan.steps) {
    steps.push_back({{"devices", step.ranks},
                     {"micro_batches", step.micro_batches},
                     {"compute_seconds", step.compute_seconds},
                     {"communication_seconds", step.communication_seconds},
                     {"exposed_seconds", step.exposed_seconds},
                     {"step_seconds", step.seconds()},
                     {"tokens_per_second", plan.tokens_per_second(step)},
                     {"efficiency", plan.efficiency(step)},
                     {"bytes_sent", step.bytes_sent},
                     {"memory_bytes", step.memory_bytes},
                     {"hours", plan.hours(step)}});
  }
  return {{"tokens", plan.tokens}, {"tokens_per_step", plan.tokens_per_step}, {"steps", steps}};
}

std::string cluster_text(const ClusterPlan& plan, const Config& config, const Cluster& cluster) {
  auto text = fmt::format(
      "{:.4g} tokens, {:.4g} a step, dist.sharding = \"{}\", devices of {:.4g} TFLOP/s at {:.0f} %, links of {:.4g} "
      "Gbit/s\n\n"
      "{:>8} {:>8} {:>11} {:>11} {:>11} {:>12} {:>11} {:>11} {:>12} {:>10}\n",
      plan.tokens, plan.tokens_per_step, name_of(config.dist.sharding), cluster.peak_flops / 1e12, 100 * cluster.mfu,
      cluster.link_bytes_per_second * 8e-9, "devices", "batches", "compute s", "link s", "exposed s", "tokens/s",
      "efficiency", "sent GB", "memory GiB", "days");
  for (const auto& step : plan.steps) {
    const bool fits = step.memory_bytes <= cluster.memory_bytes;
    text += fmt::format(
        "{:>8} {:>8} {:>11.4g} {:>11.4g} {:>11.4g} {:>12.4g} {:>9.1f} % {:>11.3g} {:>12} {:>10.4g}\n", step.ranks,
        step.micro_batches, step.compute_seconds, step.communication_seconds, step.exposed_seconds,
        plan.tokens_per_second(step), 100 * plan.efficiency(step), step.bytes_sent / 1e9,
        fmt::format("{:.3g}{}", step.memory_bytes / std::exp2(30), fits ? "" : " !"), plan.hours(step) / 24);
  }
  const bool all_fit = std::all_of(plan.steps.begin(), plan.steps.end(), [&](const SimulatedStep& step) {
    return step.memory_bytes <= cluster.memory_bytes;
  });
  if (!all_fit) text += fmt::format("\n! more than the {:.4g} GiB of a device\n", cluster.memory_bytes / std::exp2(30));
  return text;
}

}  // namespace dlcm
