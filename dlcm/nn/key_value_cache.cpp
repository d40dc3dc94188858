#include "dlcm/nn/key_value_cache.h"

#include <algorithm>

namespace dlcm {

void KeyValueCache::append(const at::Tensor& k_nGH, const at::Tensor& v_nGH) {
  const int64_t count = k_nGH.size(0);
  const int64_t capacity = k_.defined() && !borrowed_ ? k_.size(0) : 0;
  if (!k_.defined() || size_ + count > capacity) {
    const int64_t grown = std::max<int64_t>({size_ + count, 2 * capacity, 64});
    for (auto [buffer, sample] : {std::pair{&k_, &k_nGH}, std::pair{&v_, &v_nGH}}) {
      auto larger = at::empty({grown, sample->size(1), sample->size(2)}, sample->options());
      if (size_ > 0) larger.narrow(0, 0, size_).copy_(buffer->narrow(0, 0, size_));
      *buffer = larger;
    }
    borrowed_ = false;
  }
  if (count == 0) return;
  k_.narrow(0, size_, count).copy_(k_nGH);
  v_.narrow(0, size_, count).copy_(v_nGH);
  size_ += count;
}

}  // namespace dlcm
