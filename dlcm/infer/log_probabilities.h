// Log-probabilities from a row of logits. One way to compute them for scoring, sampling and serving: where the logits
// are the same, so is every bit of what is said of them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dlcm {

// Row `row` is asked for token `id`.
struct TokenQuery {
  int64_t row = 0;
  int32_t id = 0;
};

struct LikelyToken {
  int32_t id = 0;
  double logprob = 0.0;
};

struct TokenScore {
  double logprob = 0.0;  // nats, over all ids that the model's head has
  bool greedy = false;   // no other id is more likely; of equally likely ones the smallest counts
  // The most likely ids of the row, the most likely first, of equally likely ones the smallest; as many as asked for.
  std::vector<LikelyToken> likely = {};
};

// What a row of logits says of ids. The row must outlive it.
class LogProbabilities {
 public:
  explicit LogProbabilities(std::span<const float> logits_V);

  double of(int32_t id) const { return static_cast<double>(logits_V_[static_cast<size_t>(id)]) - normaliser_; }
  // The most likely id; of equally likely ones the smallest.
  int32_t best() const { return best_; }
  std::vector<LikelyToken> most_likely(int64_t count) const;
  TokenScore score(int32_t id, int64_t likely) const;
  double entropy() const;  // nats

 private:
  std::span<const float> logits_V_;
  int32_t best_ = 0;
  double normaliser_ = 0.0;
};

}  // namespace dlcm
