// Memory that grows and stays, so that a decoded token allocates nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

namespace dlcm {

class Scratch {
 public:
  // At least `bytes` bytes, aligned to 64; what was there before is lost.
  std::byte* of_size(size_t bytes) {
    if (bytes > size_) {
      memory_.reset();
      size_ = std::max(bytes, 2 * size_);
      memory_.reset(static_cast<std::byte*>(::operator new(size_, kAlignment)));
    }
    return memory_.get();
  }
  float* floats(int64_t count) { return reinterpret_cast<float*>(of_size(static_cast<size_t>(count) * sizeof(float))); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Release {
    void operator()(std::byte* memory) const { ::operator delete(memory, kAlignment); }
  };
  std::unique_ptr<std::byte, Release> memory_;
  size_t size_ = 0;
};

}  // namespace dlcm
