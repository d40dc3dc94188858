#include "dlcm/ops/uniform.h"

#include <ATen/core/PhiloxRNGEngine.h>

namespace dlcm {

double uniform_draw(uint64_t seed, DrawUse use, uint64_t stream, uint64_t index) {
  at::Philox4_32 engine(seed * 4 + static_cast<uint64_t>(use), stream, index);
  const uint64_t high = engine(), low = engine();
  const uint64_t bits = (high << 32 | low) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

at::Tensor uniform_draws(uint64_t seed, DrawUse use, uint64_t stream, int64_t first, int64_t count) {
  auto draws = at::empty({count}, at::kDouble);
  auto* target = draws.mutable_data_ptr<double>();
  for (int64_t i = 0; i < count; ++i) target[i] = uniform_draw(seed, use, stream, static_cast<uint64_t>(first + i));
  return draws;
}

at::Tensor uniform_draws(uint64_t seed, DrawUse use, const at::Tensor& stream_T, const at::Tensor& index_T) {
  auto draws = at::empty({index_T.size(0)}, at::kDouble);
  auto* target = draws.mutable_data_ptr<double>();
  const auto stream = stream_T.accessor<int64_t, 1>(), index = index_T.accessor<int64_t, 1>();
  for (int64_t i = 0; i < index_T.size(0); ++i) {
    target[i] = uniform_draw(seed, use, static_cast<uint64_t>(stream[i]), static_cast<uint64_t>(index[i]));
  }
  return draws;
}

}  // namespace dlcm
