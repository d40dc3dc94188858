// How long an optimiser step takes on many devices: the compute of the slowest rank, and what of the communication the
// backward pass does not hide. The order of events is that of train/gradients.h.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/scaling/planner.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace dlcm {

struct SimulatedStep {
  int64_t ranks = 1;
  int64_t micro_batches = 1;           // of the rank that has most
  double compute_seconds = 0.0;        // of the slowest rank
  double communication_seconds = 0.0;  // that the link is busy
  double exposed_seconds = 0.0;        // of it, that nobody computes meanwhile
  double bytes_sent = 0.0;             // by each rank
  double memory_bytes = 0.0;           // of each rank: what it keeps, and the activations of a micro-batch

  double seconds() const { return compute_seconds + exposed_seconds; }
};

// One step of the configuration on `ranks` devices of the cluster. Throws Error where a step has fewer windows.
SimulatedStep simulate_step(const Config& config, const Cluster& cluster, int64_t ranks);

// The same for 1, 2, 4, ... and all devices, as far as a step has windows for them.
struct ClusterPlan {
  std::vector<SimulatedStep> steps;
  double tokens = 0.0;
  double tokens_per_step = 0.0;

  double tokens_per_second(const SimulatedStep& step) const { return tokens_per_step / step.seconds(); }
  double hours(const SimulatedStep& step) const { return tokens / tokens_per_second(step) / 3600.0; }
  // Of the speed of one device times the number of them.
  double efficiency(const SimulatedStep& step) const;
};
ClusterPlan plan_cluster(const Config& config, const Cluster& cluster, double tokens);

nlohmann::ordered_json to_json(const ClusterPlan& plan);
std::string cluster_text(const ClusterPlan& plan, const Config& config, const Cluster& cluster);

}  // namespace dlcm
