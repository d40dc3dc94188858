#include "dlcm/train/global_parser.h"

namespace dlcm {

double ratio_loss(double ratio, double boundary_rate, double mean_score) {
  return ratio / (ratio - 1) * ((ratio - 1) * boundary_rate * mean_score + (1 - boundary_rate) * (1 - mean_score)) - 1;
}

double ratio_loss_slope(double ratio, double boundary_rate) {
  return ratio / (ratio - 1) * (ratio * boundary_rate - 1);
}

}  // namespace dlcm
