// The parts that a training run and a dry run share: the resolved configuration, the model, its optimiser and data.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/data/mixture.h"
#include "dlcm/dist/communicator.h"
#include "dlcm/model/language_model.h"
#include "dlcm/train/gradients.h"
#include "dlcm/train/optimizer.h"
#include "dlcm/train/step_gradients.h"

#include <memory>

namespace dlcm {

// Sets the number of threads (0: one per core this process may use, shared with other ranks on it) and resolves
// model.vocabulary from the data's tokenizer, train.precision from the CPU and what parser.entropy leaves open
// (train/entropy_rule.h). Throws Error where the model's vocabulary is smaller than the tokenizer's.
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
  std::vector<std::vector<size_t>> sources;  // of the windows of each micro-batch
  StepTotals totals;
};
// One rank takes the windows in their order, several as train/balance.h deals them out; `source_ratios` are the tokens
// per concept expected of each source, none where nothing is known.
StepData read_step(const MixedWindows& windows, const Config& config, int64_t step, const Communicator& communicator,
                   const std::vector<double>& source_ratios = {});
// Throws Error where a step has fewer windows than there are ranks.
void check_world_size(const Config& config, const Communicator& communicator);

struct StepReport {
  StepMeasurements measured;
  double gradient_norm = 0.0;
  bool skipped = false;              // a loss or gradient was not finite: nothing was updated
  double slowest_to_mean = 1.0;      // work_seconds over the ranks
  Traffic traffic;                   // of this rank in this step
  double mean_waited_seconds = 0.0;  // that ranks waited for each other and for what the network carries
};

// One optimiser step: gradients over all micro-batches and ranks, then the update of what this rank owns.
StepReport optimise(LanguageModel& model, AdamW& optimizer, Gradients& gradients, const StepData& data, int64_t step,
                    WorkerThreads& workers);

}  // namespace dlcm
