#include "dlcm/train/run.h"

#include "dlcm/model/dlcm.h"
#include "dlcm/nn/precision.h"
#include "dlcm/train/entropy_rule.h"
#include "dlcm/train/machine_peak.h"
#include "dlcm/train/schedule.h"
#include "dlcm/util/error.h"

#include <ATen/Parallel.h>
#include <sched.h>

#include <algorithm>
#include <cmath>

namespace dlcm {
namespace {

int usable_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  return sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
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

StepData read_step(const MixedWindows& windows, const Config& config, int64_t step, const Communicator& communicator) {
  const auto& train = config.train;
  const int64_t first = step * train.tokens_per_step;
  const int64_t num_micro_batches = train.tokens_per_step / train.micro_batch_tokens;
  StepData data;
  data.totals.tokens = train.tokens_per_step;
  data.totals.targets = windows.targets(first, train.tokens_per_step);
  for (int64_t i = 0; i < num_micro_batches; ++i) {
    if (i % communicator.world_size() != communicator.rank()) continue;
    const int64_t offset = i * train.micro_batch_tokens;
    data.micro_batches.push_back(windows.read(first + offset, train.micro_batch_tokens));
    data.micro_batches.back().first_token = offset;
  }
  return data;
}

StepReport optimise(LanguageModel& model, AdamW& optimizer, const StepData& data, int64_t step, WorkerThreads& workers,
                    Communicator& communicator) {
  const auto& config = model.config();
  const MatrixPrecision precision(config.train.precision == Precision::bf16);
  StepReport report;
  report.measured = step_gradients(model, data.micro_batches, data.totals, step, workers, communicator);
  report.gradient_norm = optimizer.gradient_norm();
  report.skipped = communicator.any(!std::isfinite(report.measured.loss) || !std::isfinite(report.measured.aux_loss) ||
                                    !std::isfinite(report.gradient_norm));
  if (!report.skipped) optimizer.update(schedule_factor(config, step), report.gradient_norm);
  return report;
}

}  // namespace dlcm
