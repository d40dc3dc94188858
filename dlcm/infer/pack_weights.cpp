#include "dlcm/infer/pack_weights.h"

#include <cstring>

namespace dlcm {

void pack_weight(ThreadPool& threads, const WeightSlot& slot, WeightFormat format, const ParameterSource& source,
                 std::byte* destination) {
  std::vector<at::Tensor> parts;
  for (const auto& parameter : slot.parameters) {
    parts.push_back(source(parameter.name, slot.shape_of(parameter)).to(at::kFloat));
  }
  const auto whole = (parts.size() == 1 ? parts.front() : at::cat(parts)).contiguous();
  const auto* values = whole.const_data_ptr<float>();
  if (slot.matrix != nullptr) {
    pack(threads, format, slot.outputs, slot.inputs, values, destination);
  } else {
    std::memcpy(destination, values, stored_bytes(slot, format));
  }
}

}  // namespace dlcm
