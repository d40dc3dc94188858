#include "dlcm/scaling/trajectories.h"

#include "dlcm/io/checkpoint_store.h"
#include "dlcm/io/metrics.h"
#include "dlcm/model/flops.h"
#include "dlcm/train/schedule.h"
#include "dlcm/util/error.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>

namespace dlcm {
namespace {

namespace fs = std::filesystem;

// Points of a curve of training losses at most, and the fewest losses that each averages: the loss of one step is that
// of one step's few documents.
constexpr double kStretches = 40.0;
constexpr size_t kLeastLosses = 16;
constexpr size_t kLeastPoints = 3;
// Share of all tokens over which the final loss is averaged.
constexpr double kFinalShare = 0.02;

Config config_of(const std::string& run) {
  const auto checkpoints = complete_checkpoints(run);
  const auto path = (fs::path(checkpoints.empty() ? run : checkpoints.back()) / "config.toml").string();
  if (!fs::exists(path)) {
    throw Error(
        "expected a complete checkpoint or config.toml in {}, found neither: write the run's configuration there", run);
  }
  auto config = load_config(path);
  if (config.model.vocabulary == 0) {
    throw Error(
        "expected the tokenizer's size as model.vocabulary in {}, found 0: write it there, or fit the run when it has "
        "a checkpoint",
        path);
  }
  return config;
}

struct Logged {
  double step, tokens, loss;
};

// A loss that was no number is null in its line, and left out.
std::vector<Logged> logged_losses(const std::string& run, LossKind kind) {
  const char* key = kind == LossKind::training ? "loss" : "val_loss";
  const auto path = (fs::path(run) / "metrics.jsonl").string();
  std::vector<Logged> losses;
  int64_t number = 0;
  for (const auto& line : read_metrics(path)) {
    ++number;
    const auto loss = line.find(key);
    if (loss == line.end() || loss->is_null()) continue;
    // Throws unless the field is a finite number above `least`.
    const auto value_of = [&](const char* name, double least) {
      const auto found = line.find(name);
      const double value = found != line.end() && found->is_number() ? found->get<double>() : std::nan("");
      if (std::isfinite(value) && value > least) return value;
      throw Error("{}, line {}: expected a finite {} above {:g}, found {}: remove that line, or leave the run out",
                  path, number, name, least, found == line.end() ? "none" : found->dump());
    };
    losses.push_back(
        {value_of("step", -1.0), value_of("tokens", losses.empty() ? 0.0 : losses.back().tokens), value_of(key, 0.0)});
  }
  return losses;
}

LossPoint mean_of(std::span<const Logged> losses) {
  LossPoint mean;
  for (const auto& logged : losses) {
    mean.tokens += logged.tokens / static_cast<double>(losses.size());
    mean.loss += logged.loss / static_cast<double>(losses.size());
  }
  return mean;
}

// Means over stretches of equal ratio of tokens, longer ones where too few losses would be in them.
std::vector<LossPoint> means_of_stretches(std::span<const Logged> losses) {
  const double factor = std::pow(losses.back().tokens / losses.front().tokens, 1.0 / kStretches);
  const size_t least = std::clamp<size_t>(losses.size() / kLeastPoints, 1, kLeastLosses);
  std::vector<LossPoint> means;
  while (!losses.empty()) {
    size_t count = std::min(least, losses.size());
    while (count < losses.size() && losses[count].tokens < losses.front().tokens * factor) ++count;
    if (losses.size() - count < least) count = losses.size();
    means.push_back(mean_of(losses.first(count)));
    losses = losses.subspan(count);
  }
  return means;
}

// The mean loss and the mean tokens of those with tokens in (begin, end].
LossPoint mean_between(const std::vector<Logged>& losses, double begin, double end) {
  std::vector<Logged> between;
  std::copy_if(losses.begin(), losses.end(), std::back_inserter(between),
               [&](const Logged& logged) { return logged.tokens > begin && logged.tokens <= end; });
  return mean_of(between);
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
  trajectory.decay_fraction = curve.config.schedule.decay_fraction;
  trajectory.seed = curve.config.train.seed;

  const auto all = logged_losses(run, kind);
  const auto steps = static_cast<double>(curve.config.train.steps);
  if (!all.empty() && all.back().step > steps) {
    throw Error(
        "expected losses of {} up to its train.steps = {}, found one of step {}: its configuration is not the one it "
        "was trained with; leave it out, or train it to a checkpoint",
        run, steps, all.back().step);
  }
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
  const double last = stable.back().tokens;
  if (kind == LossKind::validation) {
    for (const auto& logged : stable) trajectory.points.push_back({logged.tokens, logged.loss});
  } else {
    trajectory.points = means_of_stretches(stable);
  }
  trajectory.stable = mean_between(stable, (1.0 - kStableShare) * last, last);
  if (all.back().step >= steps && decay < all.back().step) {
    trajectory.final_loss = mean_between(all, (1.0 - kFinalShare) * all.back().tokens, all.back().tokens).loss;
  }
  return curve;
}

}  // namespace dlcm
