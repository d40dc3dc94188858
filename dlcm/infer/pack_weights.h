// From the parameters of a trained model to the engine's weights, one at a time: what loading a checkpoint and
// exporting share.
#pragma once

#include "dlcm/infer/model_weights.h"

#include <ATen/ATen.h>

#include <functional>

namespace dlcm {

// Gives a parameter of this name and shape, in any floating-point type, on the CPU.
using ParameterSource = std::function<at::Tensor(const std::string& name, const std::vector<int64_t>& shape)>;

// Writes stored_bytes(slot, format) bytes.
void pack_weight(ThreadPool& threads, const WeightSlot& slot, WeightFormat format, const ParameterSource& source,
                 std::byte* destination);

}  // namespace dlcm
