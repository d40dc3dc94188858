// What one rank of several keeps and sends, as dist.sharding divides it.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/model/flops.h"

#include <cstdint>

namespace dlcm {

// Bytes that one of `ranks` keeps between steps; the smallest model has some more that fill buckets up.
TrainingMemory rank_memory(const ParameterCount& parameters, int64_t ranks, Sharding sharding);

// Payload that a rank sends in one step: gradients are reduced in every of `micro_batches` rounds where they are
// sharded, else once, and then gradients or weights are handed out; each time (1 - 1/N) of all parameters.
double bytes_sent_per_step(const ParameterCount& parameters, int64_t ranks, Sharding sharding, int64_t micro_batches);

}  // namespace dlcm
