// Validation that the ranks share.
#pragma once

#include "dlcm/dist/communicator.h"
#include "dlcm/infer/evaluation.h"

#include <vector>

namespace dlcm {

// What evaluate() gives for all batches, on every rank; each reads a run of them that begins with a document. The sums
// differ from a single rank's by rounding.
Evaluation evaluate_together(LanguageModel& model, const std::vector<Batch>& batches, const Tokenizer& tokenizer,
                             double threshold, Communicator& communicator);

}  // namespace dlcm
