#include "dlcm/train/rank_memory.h"

namespace dlcm {

TrainingMemory rank_memory(const ParameterCount& parameters, int64_t ranks, Sharding sharding) {
  auto memory = training_memory(parameters);
  const auto share_of = [&](int64_t bytes) { return (bytes + ranks - 1) / ranks; };
  if (sharding != Sharding::none) memory.optimizer_bytes = share_of(memory.optimizer_bytes);
  if (sharding == Sharding::gradients) memory.gradients_bytes = share_of(memory.gradients_bytes);
  return memory;
}

double bytes_sent_per_step(const ParameterCount& parameters, int64_t ranks, Sharding sharding, int64_t micro_batches) {
  const auto exchanges = static_cast<double>(sharding == Sharding::gradients ? micro_batches + 1 : 2);
  const auto others = 1.0 - 1.0 / static_cast<double>(ranks);
  return exchanges * others * static_cast<double>(training_memory(parameters).weights_bytes);
}

}  // namespace dlcm
