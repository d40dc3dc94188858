// The memory that tensors take on one thread, counted at LibTorch's allocator.
#pragma once

#include <c10/util/ThreadLocalDebugInfo.h>

#include <cstdint>
#include <memory>

namespace dlcm {

// Counts from its construction on, on the thread that made it, for as long as it lives. LibTorch complains where memory
// that was taken before is given back meanwhile.
class TensorMemory {
 public:
  TensorMemory();
  // The most bytes that were held at once, above those held at the beginning.
  int64_t peak_bytes() const;

 private:
  struct Count;
  std::shared_ptr<Count> count_;
  c10::DebugInfoGuard guard_;
};

}  // namespace dlcm
