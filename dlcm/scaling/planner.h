// What to train for a budget, from a fitted law (SPEC section 7).
#pragma once

#include "dlcm/scaling/decay.h"
#include "dlcm/scaling/family.h"
#include "dlcm/scaling/law.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dlcm {

// A law and how to make models of a size. The intervals come from the laws of the bootstrap.
struct PlannerInput {
  ScalingLaw law;
  std::vector<ScalingLaw> bootstrap;
  const Family* family = nullptr;           // of DLCMs
  const Family* baseline_family = nullptr;  // of plain transformers; none where the fit had none
};

// The best a budget buys at the stable learning rate.
struct Optimum {
  RunScale scale;
  double tokens = 0.0;
  double loss = 0.0;
};

inline constexpr double kLeastParameters = 1e2;
inline constexpr double kLeastShare = 0.02, kMostShare = 0.98;

// N and D that spend `flops` best, at a given P (and R); a plain transformer where `baseline`. Its loss is infinite
// where even the smallest model would not get the tokens of one optimiser step.
Optimum best_size(const ScalingLaw& law, const Family& family, double flops, RunScale scale);
// The same with P free, from kLeastShare to kMostShare.
Optimum best_share(const ScalingLaw& law, const Family& family, double flops, double ratio);

// The optimum with what the bootstrap's laws say, if there are any: where theirs is, and their losses at this one.
struct PlannedOptimum : Optimum {
  std::optional<Interval> parameters_interval, share_interval, tokens_interval, loss_interval;
};
PlannedOptimum plan_optimum(const PlannerInput& input, double flops, double ratio);

// The loss that a run of `tokens` in all ends with. The decay's gain counts from the stable loss that it was fitted to
// (Trajectory::stable), whose place is half of kStableShare before the decay.
double loss_after_decay(const ScalingLaw& law, const DecayLaw& decay, const RunScale& scale, double tokens);

// What the best plain transformer needs for a loss.
struct BaselineNeed {
  enum class Kind { found, more, less };  // more or less than any budget searched
  Kind kind = Kind::found;
  double flops = 0.0;  // needed; the end of the search where that is beyond it
  Optimum optimum;     // with these FLOPs
};
// Searched from 1e-6 to 1e6 times `around`.
BaselineNeed baseline_need(const ScalingLaw& law, const Family& family, double loss, double around);

struct Saving {
  double flops = 0.0;  // of the DLCM
  Optimum optimum;     // of the DLCM; its loss is that of both
  BaselineNeed baseline;
  bool extrapolates = false;  // whether one of the two optima is outside what was fitted

  // Share of the plain transformer's FLOPs that the DLCM does without; below 0 where it needs more.
  std::optional<double> saved() const {
    return baseline.kind == BaselineNeed::Kind::found ? std::optional(1.0 - flops / baseline.flops) : std::nullopt;
  }
};
// Needs a baseline in law and input, and flops that best_share has a finite loss for. Leaves `extrapolates` open.
Saving saving_at(const PlannerInput& input, double flops, double ratio);

// Machines to train on.
struct Cluster {
  int64_t devices = 1;
  double peak_flops = 0.0;    // of one device, operations a second
  double memory_bytes = 0.0;  // of one device
  double mfu = 0.4;
  // For the simulation of a step: what a device sends to others, what a collective takes before its first byte, what
  // each message costs its sender, and how much longer the slowest rank computes than the mean.
  double link_bytes_per_second = 5e9;
  double latency_seconds = 2e-5;
  double message_seconds = 1e-6;
  double slowest_to_mean = 1.0;

  double flops_in(double device_hours) const { return device_hours * 3600.0 * peak_flops * mfu; }
};
// [cluster] devices, peak_tflops, memory_gib, mfu; if wanted link_gbit, latency_us, message_us, slowest_to_mean. Throws
// Error naming the key.
Cluster load_cluster(const std::string& path);

// What training a configuration needs.
struct Needs {
  double state_bytes = 0.0;       // weights, gradients, moments of each device, as dist.sharding divides them
  double activation_bytes = 0.0;  // of one micro-batch
  double device_hours = 0.0;
  double hours = 0.0;  // with all devices of the cluster
  bool fits = false;   // both on each device
  // That hold it with dist.sharding = "gradients": every device has all weights. 0: no number of them does.
  int64_t least_devices = 1;
};
Needs needs_of(const Config& config, double flops, const Cluster& cluster);

}  // namespace dlcm
