#include "dlcm/scaling/trajectories.h"

#include "dlcm/io/checkpoint_store.h"
#include "dlcm/io/metrics.h"
#include "dlcm/model/flops.h"
#include "dlcm/train/schedule.h"
#include "dlcm/util/error.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

namespace dlcm {
namespace {

namespace fs = std::filesystem;

// Points of a curve of training losses at most.
constexpr double kStretches = 40.0;
constexpr size_t kLeastPoints = 3;
// Share of the tokens over which the last stable and the final loss are averaged.
constexpr double kStableShare = 0.1;
constexpr double kFinalShare = 0.02;

Config config_of(const std::string& run) {
  const auto own = (fs::path(run) / "config.toml").string();
  if (fs::exists(own)) return load_config(own);
  return load_config((fs::path(find_checkpoint(run)) / "config.toml").string());
}

struct Logged {
  double step, tokens, loss;
};

std::vector<Logged> logged_losses(const std::string& run, LossKind kind) {
  const char* key = kind == LossKind::training ? "loss" : "val_loss";
  std::vector<Logged> losses;
  for (const auto& line : read_metrics((fs::path(run) / "metrics.jsonl").string())) {
    const auto loss = line.find(key);
    if (loss == line.end() || !loss->is_number()) continue;
    losses.push_back({line.value("step", 0.0), line.value("tokens", 0.0), loss->get<double>()});
  }
  return losses;
}

// The mean loss and the mean tokens of those with tokens in (begin, end].
LossPoint mean_between(const std::vector<Logged>& losses, double begin, double end) {
  LossPoint mean;
  double count = 0.0;
  for (const auto& logged : losses) {
    if (logged.tokens <= begin || logged.tokens > end) continue;
    mean.tokens += logged.tokens;
    mean.loss += logged.loss;
    ++count;
  }
  if (count > 0.0) mean = {mean.tokens / count, mean.loss / count};
  return mean;
}

}  // namespace

RunCurve read_curve(const std::string& run, LossKind kind) {
  if (!fs::exists(fs::path(run) / "metrics.jsonl")) {
    throw Error("expected metrics.jsonl in {}, found none: name a directory that train --output or a sweep has written",
                run);
  }
  RunCurve curve{{}, config_of(run)};
  const auto parameters = count_parameters(curve.config);
  auto& trajectory = curve.trajectory;
  trajectory.name = fs::path(run).lexically_normal().string();
  trajectory.scale.baseline = curve.config.model.kind == ModelKind::llama;
  trajectory.scale.parameters = static_cast<double>(parameters.non_embedding());
  if (!trajectory.scale.baseline) {
    trajectory.scale.backbone_share = parameters.backbone_share();
    trajectory.scale.ratio = curve.config.parser.ratio;
  }

  const auto all = logged_losses(run, kind);
  const auto warmup = static_cast<double>(curve.config.schedule.warmup_steps);
  const auto decay = static_cast<double>(decay_start(curve.config));
  std::vector<Logged> stable;
  std::copy_if(all.begin(), all.end(), std::back_inserter(stable),
               [&](const Logged& logged) { return logged.step > warmup && logged.step <= decay; });
  if (stable.size() < kLeastPoints) {
    throw Error(
        "{} has {} losses between warm-up (step {}) and decay (step {}), at least {} are needed: train longer, or "
        "leave it out",
        run, stable.size(), warmup, decay, kLeastPoints);
  }
  const double first = stable.front().tokens, last = stable.back().tokens;
  if (kind == LossKind::validation) {
    for (const auto& logged : stable) trajectory.points.push_back({logged.tokens, logged.loss});
  } else {
    const double factor = std::pow(last / first, 1.0 / kStretches);
    double begin = 0.0;
    for (double end = first * factor; begin < last; end *= factor) {
      const auto point = mean_between(stable, begin, end > last / factor ? last : end);
      if (point.tokens > 0.0) trajectory.points.push_back(point);
      begin = end > last / factor ? last : end;
    }
  }
  trajectory.stable = mean_between(stable, (1.0 - kStableShare) * last, last);
  if (all.back().step >= static_cast<double>(curve.config.train.steps) && decay < all.back().step) {
    trajectory.final_loss = mean_between(all, (1.0 - kFinalShare) * all.back().tokens, all.back().tokens).loss;
  }
  return curve;
}

}  // namespace dlcm
