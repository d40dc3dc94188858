#include "dlcm/model/smoothing.h"

#include "dlcm/ops/moving_average.h"

namespace dlcm {

at::Tensor smooth(SmoothingKind kind, const at::Tensor& z_SW, const at::Tensor& p_S) {
  if (kind == SmoothingKind::identity) return z_SW;
  // p = 1 at a document's first place makes what came before it count for nothing.
  return moving_average(z_SW, p_S, at::zeros({z_SW.size(1)}, z_SW.options()));
}

at::Tensor smooth_step(SmoothingKind kind, const at::Tensor& z_SW, const at::Tensor& p_S,
                       const std::vector<int64_t>& offsets, const std::vector<SmoothingState*>& states) {
  if (kind == SmoothingKind::identity) return z_SW;
  auto smoothed_SW = at::empty_like(z_SW);
  for (size_t sequence = 0; sequence < states.size(); ++sequence) {
    const int64_t first = offsets[sequence], count = offsets[sequence + 1] - first;
    if (count == 0) continue;
    auto& last_W = states[sequence]->last_W;
    const auto initial = last_W.defined() ? last_W : at::zeros({z_SW.size(1)}, z_SW.options());
    const auto rows = moving_average(z_SW.narrow(0, first, count), p_S.narrow(0, first, count), initial);
    smoothed_SW.narrow(0, first, count).copy_(rows);
    last_W = rows[count - 1].clone();
  }
  return smoothed_SW;
}

}  // namespace dlcm
