// Log-likelihoods of continuations: many short sequences, of which most share their beginning with others (the choices
// of a question, the questions behind the same examples).
//
// The sequences form a tree of their common beginnings. Each of its branches is read once, with the state that decoding
// keeps (SPEC section 6), and forked where the tree forks; branches of the same depth are read side by side. Boundaries
// of concepts are causal, so what a beginning leaves behind is the same whatever follows it, and scores equal those of
// each sequence alone, bit for bit (infer/engine.h).
#pragma once

#include "dlcm/infer/engine.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace dlcm {

struct Continuation {
  std::vector<int32_t> ids;  // what is given, then what is scored
  size_t given = 1;          // ids that are given: at least 1, fewer than all
};

struct ContinuationScore {
  double logprob = 0.0;  // sum over the scored ids, nats
  bool greedy = true;    // each of them is the most likely one
};

struct ContinuationOptions {
  double threshold = 0.5;
  // Rows of keys and values that the sequences read side by side may hold; bounds memory. One sequence is always read.
  int64_t batch_tokens = 16384;
  bool share_beginnings = true;  // false reads every sequence whole, to measure what sharing gains
  // Called now and then with the number of sequences that are done.
  std::function<void(size_t done)> progress = {};
};

// Scores in the order of `continuations`. Continuations that are equal, or differ in their last id only, read the same
// rows: equal ones have equal scores.
std::vector<ContinuationScore> score_continuations(Engine& engine, const std::vector<Continuation>& continuations,
                                                   const ContinuationOptions& options);

}  // namespace dlcm
