// The auxiliary loss that holds the ratio, over all tokens of an optimiser step (SPEC section 2):
//   L_aux = R/(R-1) [ F G + (1-F)(1-G) ] - 1,  F = mean b, G = mean p.
// F carries no gradient, so the loss is linear in G with the slope kappa = R/(R-1) (R F - 1).
#pragma once

namespace dlcm {

double ratio_loss(double ratio, double boundary_rate, double mean_score);
double ratio_loss_slope(double ratio, double boundary_rate);

}  // namespace dlcm
