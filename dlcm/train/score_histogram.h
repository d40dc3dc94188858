// How many tokens have a boundary score p in each of 2^16 equal parts of [0, 1]. Counts add up over micro-batches and
// ranks, so the quantiles taken from them are those of the whole step, to 2^-16.
#pragma once

#include <ATen/ATen.h>

namespace dlcm {

class ScoreHistogram {
 public:
  ScoreHistogram();
  void add(const at::Tensor& p_T);
  // The largest threshold at which at least `share` of the tokens have p >= threshold.
  double threshold_for(double share) const;
  // Share of the tokens with p >= threshold.
  double share_above(double threshold) const;
  // int64 counts, to be summed over ranks in place.
  at::Tensor& counts() { return counts_; }

 private:
  at::Tensor counts_;
};

}  // namespace dlcm
