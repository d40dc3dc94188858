// From logits to the next token: temperature, then top-k, top-p and min-p, then one uniform draw.
#pragma once

#include <cstdint>
#include <span>

namespace dlcm {

// Values that leave every token its probability under the model are the defaults.
struct SamplingSettings {
  double temperature = 1.0;  // logits are divided by it; 0 takes the most likely token
  int64_t top_k = 0;         // keeps the k most likely tokens; 0 keeps all
  double top_p = 1.0;        // of those, keeps the fewest most likely ones that together reach this probability
  double min_p = 0.0;        // keeps tokens at least this many times as likely as the most likely one
  uint64_t seed = 0;
};

// Throws Error naming the setting that is out of range or no number.
void check_sampling(const SamplingSettings& settings);

// logits_V of one position; `uniform` in [0, 1). Returns an id. Where tokens are equally likely the
// lower id counts as the more likely one. top_p is over the tokens that top_k kept, with probabilities that sum to 1.
// Throws RuntimeFailure where a logit is not a number or the largest is infinite.
int32_t sample(std::span<const float> logits_V, const SamplingSettings& settings, double uniform);

}  // namespace dlcm
