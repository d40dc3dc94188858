#include "dlcm/train/run.h"

#include "dlcm/dist/launch.h"
#include "dlcm/model/dlcm.h"
#include "dlcm/nn/precision.h"
#include "dlcm/train/balance.h"
#include "dlcm/train/entropy_rule.h"
#include "dlcm/train/machine_peak.h"
#include "dlcm/train/schedule.h"
#include "dlcm/util/error.h"

#include <ATen/Parallel.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace dlcm {
namespace {

// The cores that this process may use; its share of them where the launcher has bound no rank to cores of its own.
int usable_cores() {
  const auto cores_of = [](pid_t process) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    return sched_getaffinity(process, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
  };
  const int own = cores_of(0);
  const bool is_bound = own < cores_of(::getppid());
  return is_bound ? own : std::max(1, own / ranks_on_this_machine());
}

}  // namespace

void set_threads(const Config& config) {
  at::set_num_threads(config.train.threads > 0 ? static_cast<int>(config.train.threads) : usable_cores());
}

int64_t number_of_workers(const Config& config) {
  const auto& train = config.train;
  if (train.workers > 0) return train.workers;
  const int64_t gradients = std::max<int64_t>(1, training_memory(count_parameters(config)).gradients_bytes);
  return std::max<int64_t>(
      1, std::min({static_cast<int64_t>(at::get_num_threads()), train.micro_batch_tokens / train.context,
                   machine_memory_bytes() / 8 / gradients}));
}

Config resolve_config(Config config, const Mixture& data) {
  const auto& tokenizer = *data.tokenizer();
  if (config.model.vocabulary == 0) config.model.vocabulary = tokenizer.vocabulary();
  if (config.model.vocabulary < tokenizer.vocabulary()) {
    throw Error(
        "model.vocabulary = {} is smaller than the {} ids of the data's tokenizer: raise it, or set it to 0 to "
        "take the tokenizer's size",
        config.model.vocabulary, tokenizer.vocabulary());
  }
  set_threads(config);
  if (config.train.precision == Precision::automatic) {
    config.train.precision = bfloat16_is_fast() ? Precision::bf16 : Precision::fp32;
  }
  resolve_entropy_rule(config, data);
  return config;
}

void set_tokenizer_tables(LanguageModel& model, const Tokenizer& tokenizer) {
  for (auto& buffer : model.named_buffers()) {
    if (buffer.key() != "parser.opens_word") continue;
    const auto table = tokenizer.opens_word();
    for (size_t id = 0; id < table.size(); ++id) buffer.value()[static_cast<int64_t>(id)] = table[id];
  }
}

void check_world_size(const Config& config, const Communicator& communicator) {
  const int64_t windows = config.train.tokens_per_step / config.train.context;
  if (windows >= communicator.world_size()) return;
  throw Error(
      "{} ranks were started, but a step of train.tokens_per_step = {} has {} windows of train.context = {}: start "
      "fewer ranks, or raise train.tokens_per_step",
      communicator.world_size(), config.train.tokens_per_step, windows, config.train.context);
}

StepData read_step(const MixedWindows& windows, const Config& config, int64_t step, const Communicator& communicator,
                   const std::vector<double>& source_ratios) {
  const auto& train = config.train;
  const int64_t first = step * train.tokens_per_step;
  const auto all = windows.windows(first, train.tokens_per_step);
  std::vector<size_t> own(all.size());
  std::iota(own.begin(), own.end(), size_t{0});
  if (communicator.world_size() > 1) {
    std::vector<double> costs;
    for (const auto& window : all) {
      costs.push_back(expected_window_flops(
          config, windows.offsets(window), source_ratios.empty() ? config.parser.ratio : source_ratios[window.source]));
    }
    own = share_windows(costs, communicator.world_size())[static_cast<size_t>(communicator.rank())];
  }
  StepData data;
  data.totals.tokens = train.tokens_per_step;
  data.totals.targets = windows.targets(first, train.tokens_per_step);
  const auto most = static_cast<size_t>(train.micro_batch_tokens / train.context);
  const size_t count = (own.size() + most - 1) / most;
  for (size_t i = 0; i < count; ++i) {
    std::vector<MixedWindows::Place> places;
    std::vector<at::Tensor> index;
    auto& sources = data.sources.emplace_back();
    for (size_t j = own.size() * i / count; j < own.size() * (i + 1) / count; ++j) {
      const auto token = static_cast<int64_t>(own[j]) * train.context;
      places.push_back(all[own[j]]);
      sources.push_back(all[own[j]].source);
      index.push_back(at::arange(token, token + train.context, at::kLong));
    }
    auto& batch = data.micro_batches.emplace_back(windows.read(places));
    batch.index_T = at::cat(index);
  }
  return data;
}

StepReport optimise(LanguageModel& model, AdamW& optimizer, Gradients& gradients, const StepData& data, int64_t step,
                    WorkerThreads& workers) {
  const auto& config = model.config();
  auto& communicator = gradients.communicator();
  const MatrixPrecision precision(config.train.precision == Precision::bf16);
  const auto before = communicator.traffic();
  StepReport report;
  report.measured = step_gradients(model, data.micro_batches, data.totals, step, workers, gradients);
  report.gradient_norm = gradients.norm();
  // All of these are the same bits on every rank, and so is the decision.
  report.skipped = !std::isfinite(report.measured.loss) || !std::isfinite(report.measured.aux_loss) ||
                   !std::isfinite(report.gradient_norm);
  if (!report.skipped) {
    optimizer.update(schedule_factor(config, step), report.gradient_norm, gradients.values());
    gradients.share_parameters();
  }
  const auto after = communicator.traffic();
  report.traffic = {after.bytes_sent - before.bytes_sent, after.waited_seconds - before.waited_seconds};
  const auto ranks = communicator.all_gather_values({report.measured.work_seconds, report.traffic.waited_seconds});
  report.slowest_to_mean = (ranks.select(1, 0).max() / ranks.select(1, 0).mean()).item<double>();
  report.mean_waited_seconds = ranks.select(1, 1).mean().item<double>();
  return report;
}

}  // namespace dlcm
