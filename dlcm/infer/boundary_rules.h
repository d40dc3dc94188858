// Where concepts begin, id by id (SPEC section 1, "Boundary rules"): what the engine decides from scores, places and
// ids, as Parser does for training.
#pragma once

#include "dlcm/config/config.h"

#include <cstdint>
#include <span>

namespace dlcm {

// An id about to be read.
struct BoundaryQuestion {
  int64_t id = 0;              // of the vocabulary; part of the random rule's key
  int64_t position = 0;        // in its document
  int64_t segment_length = 0;  // tokens of the open segment
  float score = 1.0f;          // (1 - cos) / 2, 1 at the first position; of the learned and the cosine rule
  bool opens_word = false;     // of the whitespace rule
  double entropy = 0.0;        // nats, of what the entropy rule's model predicted here
};

// Whether the id opens a concept; `threshold` is the learned rule's.
bool opens_concept(const Config& config, const BoundaryQuestion& question, double threshold);

// Whether the rule compares a token with the one before it.
bool has_scores(BoundaryRule rule);

}  // namespace dlcm
