// What the decay of the learning rate gains (SPEC section 7): Delta = k L_stable^a R^b N^c, by least squares on its
// logarithm. Delta is the last stable loss minus the loss at the end of the decay.
#pragma once

#include "dlcm/scaling/fit.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace dlcm {

struct DecayLaw {
  double factor = 0.0;          // k
  double loss_exponent = 0.0;   // a
  double ratio_exponent = 0.0;  // b; 0 where R does not vary
  double size_exponent = 0.0;   // c; 0 where N does not vary
  double r_squared = 0.0;       // of Delta itself
  int64_t runs = 0;
  double decay_fraction = 0.0;  // schedule.decay_fraction of all of them

  // Nats gained; a plain transformer has no ratio, and R counts as 1.
  double gain(const RunScale& run, double stable_loss) const;
};

// Of the DLCM runs with a finished decay that gained something; none where they are no more than the numbers to find.
// Throws Error where their decays take different shares of the steps, which gain differently.
std::optional<DecayLaw> fit_decay(const std::vector<Trajectory>& runs);
// DLCM runs with a finished decay that gained nothing, which have no logarithm.
int64_t decays_without_gain(const std::vector<Trajectory>& runs);

}  // namespace dlcm
