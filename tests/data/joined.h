// Batches laid end to end, to compare what was read in different ways.
#pragma once

#include "dlcm/model/batch.h"

#include <cstdint>
#include <vector>

namespace dlcm::testing {

inline std::vector<int64_t> numbers(const at::Tensor& tensor) {
  const auto* data = tensor.const_data_ptr<int64_t>();
  return {data, data + tensor.numel()};
}

// The rows of batches and the edges of their pieces.
struct Joined {
  std::vector<int64_t> token, target, offsets{0};
  void add(const Batch& batch) {
    const auto base = static_cast<int64_t>(token.size());
    for (const int64_t id : numbers(batch.token_T)) token.push_back(id);
    for (const int64_t id : numbers(batch.target_T)) target.push_back(id);
    for (size_t index = 1; index < batch.documents.offsets.size(); ++index) {
      offsets.push_back(base + batch.documents.offsets[index]);
    }
  }
  bool operator==(const Joined&) const = default;
};

}  // namespace dlcm::testing
