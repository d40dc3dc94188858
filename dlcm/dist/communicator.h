// What a training step needs from the other ranks. One process is the only implementation so far; an MPI one fits the
// same interface.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace dlcm {

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int64_t rank() const = 0;
  virtual int64_t world_size() const = 0;
  // Sums each tensor over the ranks, in place, in rank order (deterministic).
  virtual void all_reduce_sum(const std::vector<at::Tensor>& tensors) = 0;
  // True where any rank says true.
  virtual bool any(bool value) = 0;
  virtual void barrier() = 0;
};

class SingleProcess final : public Communicator {
 public:
  int64_t rank() const override { return 0; }
  int64_t world_size() const override { return 1; }
  void all_reduce_sum(const std::vector<at::Tensor>&) override {}
  bool any(bool value) override { return value; }
  void barrier() override {}
};

}  // namespace dlcm
