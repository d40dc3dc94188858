// The gradients of one optimiser step, over all its micro-batches and ranks (SPEC sections 2 and 5). Each micro-batch
// back-propagates  sum nll / N_targets + lambda * kappa * sum p / N_tokens  with both N and kappa of the whole step,
// and gradients are summed: any split into micro-batches and ranks gives the same sum.
#pragma once

#include "dlcm/model/flops.h"
#include "dlcm/model/language_model.h"
#include "dlcm/train/gradients.h"
#include "dlcm/train/score_histogram.h"
#include "dlcm/util/worker_threads.h"

#include <optional>
#include <vector>

namespace dlcm {

struct StepTotals {
  int64_t tokens = 0;  // of the whole step
  int64_t targets = 0;
};

struct StepMeasurements {
  double loss = 0.0;                     // mean nll per target, nats
  double aux_loss = 0.0;                 // ratio loss; 0 where there is none
  double boundary_rate = 0.0;            // F; 0 for a model without concepts
  double mean_score = 0.0;               // G
  std::optional<ScoreHistogram> scores;  // learned rule only
  Work work;                             // what the forward passes really saw, over all ranks
  double first_pass_seconds = 0.0;       // of the boundary-only pass of the Global Parser
  double work_seconds = 0.0;             // of this rank, without waiting for others
  std::vector<at::Tensor> boundary_T;    // bool, of each micro-batch of this rank; none without concepts
};

// Leaves this step's gradients, summed over the ranks, in `gradients`. The workers take a part of each micro-batch's
// documents each; their sums are added up in order. `step` keys the boundary draws. `forced`, one per micro-batch or
// empty, replaces the rule's decisions (tests).
StepMeasurements step_gradients(LanguageModel& model, const std::vector<Batch>& micro_batches, const StepTotals& totals,
                                int64_t step, WorkerThreads& workers, Gradients& gradients,
                                const std::vector<at::Tensor>& forced = {});

}  // namespace dlcm
