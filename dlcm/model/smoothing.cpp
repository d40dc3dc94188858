#include "dlcm/model/smoothing.h"

#include "dlcm/ops/moving_average.h"

namespace dlcm {

at::Tensor smooth(SmoothingKind kind, const at::Tensor& z_SW, const at::Tensor& p_S) {
  if (kind == SmoothingKind::identity) return z_SW;
  // p = 1 at a document's first place makes what came before it count for nothing.
  return moving_average(z_SW, p_S, at::zeros({z_SW.size(1)}, z_SW.options()));
}

}  // namespace dlcm
