// Keys and values of one sequence, growing as it is decoded.
#pragma once

#include <ATen/ATen.h>

namespace dlcm {

class KeyValueCache {
 public:
  KeyValueCache() = default;
  // A copy shares the rows that are there and takes storage of its own when it grows, as the original does in its own.
  KeyValueCache(const KeyValueCache& other) : k_(other.k_), v_(other.v_), size_(other.size_), borrowed_(true) {}
  KeyValueCache(KeyValueCache&&) = default;
  KeyValueCache& operator=(KeyValueCache&&) = default;

  // Appends rows [n, G, H]. Storage doubles when full, so n appends cost O(n).
  void append(const at::Tensor& k_nGH, const at::Tensor& v_nGH);
  int64_t size() const { return size_; }
  at::Tensor keys() const { return k_.narrow(0, 0, size_); }    // [size, G, H]
  at::Tensor values() const { return v_.narrow(0, 0, size_); }  // [size, G, H]

 private:
  at::Tensor k_, v_;
  int64_t size_ = 0;
  bool borrowed_ = false;  // the storage is another cache's, who may write behind our rows
};

}  // namespace dlcm
