#include "dlcm/train/tensor_memory.h"

#include <c10/core/Allocator.h>

#include <algorithm>

namespace dlcm {

struct TensorMemory::Count final : c10::MemoryReportingInfoBase {
  void reportMemoryUsage(void*, int64_t alloc_size, size_t, size_t, c10::Device) override {
    held += alloc_size;
    peak = std::max(peak, held);
  }
  bool memoryProfilingEnabled() const override { return true; }

  int64_t held = 0, peak = 0;
};

TensorMemory::TensorMemory() : count_(std::make_shared<Count>()), guard_(c10::DebugInfoKind::PROFILER_STATE, count_) {}

int64_t TensorMemory::peak_bytes() const { return count_->peak; }

}  // namespace dlcm
