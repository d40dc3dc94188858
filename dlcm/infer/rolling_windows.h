// Documents longer than the model's context, in the windows in which lm-evaluation-harness reads them: every token is
// predicted once, each window predicts `context` tokens, and the last one reaches back into the one before it, so that
// it, too, has a whole context.
#pragma once

#include "dlcm/model/batch.h"

#include <cstdint>
#include <vector>

namespace dlcm {

struct RollingWindows {
  Batch batch;          // targets are -1 in rows that another window predicts from
  at::Tensor counts_T;  // bool: the row is its token's own, not a repetition for context
};

// Windows of documents of at least one id, the first of which is given, packed into batches of at most about
// `batch_tokens` rows. The last id of a document has a row, too, from which nothing is predicted.
std::vector<RollingWindows> rolling_windows(const std::vector<std::vector<int32_t>>& documents, int64_t context,
                                            int64_t batch_tokens);

}  // namespace dlcm
