// Log-probabilities of given tokens, and whether each is the most likely one, from the rows that predict them.
#pragma once

#include "dlcm/model/language_model.h"

#include <cstdint>
#include <vector>

namespace dlcm {

// Row `row` of y_TD is asked for token `id`.
struct TokenQuery {
  int64_t row = 0;
  int64_t id = 0;
};

struct TokenScore {
  double logprob = 0.0;  // nats, over all ids that the model's head has
  bool greedy = false;   // no other id is more likely; of equally likely ones the smallest counts
};

// One score per query, in their order. A row asked several times is computed once, so equal queries have equal scores.
// y_TD as a model's Output holds it. Extra memory: one chunk of logits (at most about 64 MB). No gradients.
std::vector<TokenScore> token_scores(const LanguageModel& model, const at::Tensor& y_TD,
                                     const std::vector<TokenQuery>& queries);

}  // namespace dlcm
