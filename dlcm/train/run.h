// The parts that a training run and a dry run share: the resolved configuration, the model, its optimiser and data.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/data/mixture.h"
#include "dlcm/dist/communicator.h"
#include "dlcm/model/language_model.h"
#include "dlcm/train/optimizer.h"
#include "dlcm/train/step_gradients.h"

#include <memory>

namespace dlcm {

// Sets the number of threads (0: one per core this process may use) and resolves model.vocabulary from the data's
// tokenizer, train.precision from the CPU and what parser.entropy leaves open (train/entropy_rule.h). Throws Error where
// the model's vocabulary is smaller than the tokenizer's.
Config resolve_config(Config config, const Mixture& data);

// Threads that LibTorch will use for config.train.threads.
void set_threads(const Config& config);

// Workers that share a micro-batch, on the threads now set: train.workers, or as many as there are threads and windows
// in a micro-batch, as long as their gradients take at most an eighth of the machine's memory.
int64_t number_of_workers(const Config& config);

// Fills the whitespace rule's table from the tokenizer.
void set_tokenizer_tables(LanguageModel& model, const Tokenizer& tokenizer);

// The micro-batches of step `step` (from 0) that this rank computes.
struct StepData {
  std::vector<Batch> micro_batches;
  StepTotals totals;
};
StepData read_step(const MixedWindows& windows, const Config& config, int64_t step, const Communicator& communicator);

struct StepReport {
  StepMeasurements measured;
  double gradient_norm = 0.0;
  bool skipped = false;  // a loss or gradient was not finite: nothing was updated
};

// One optimiser step: gradients over all micro-batches and ranks, then the update.
StepReport optimise(LanguageModel& model, AdamW& optimizer, const StepData& data, int64_t step, WorkerThreads& workers,
                    Communicator& communicator);

}  // namespace dlcm
