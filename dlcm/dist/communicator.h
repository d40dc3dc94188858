// What the ranks of a training do together. Two collectives are enough: the sum of everyone's tensors, in parts, and
// everyone's parts in one tensor; all others are made of them. Sums are taken in rank order, so that a world size gives
// the same bits again.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dlcm {

// A collective under way. The tensor belongs to it until wait() has returned.
class PendingCollective {
 public:
  virtual ~PendingCollective() = default;
  // Throws RuntimeFailure where it failed.
  virtual void wait() = 0;
};
using Pending = std::shared_ptr<PendingCollective>;

// What collectives have cost this rank since it began.
struct Traffic {
  int64_t bytes_sent = 0;       // payload handed over for other ranks
  double waited_seconds = 0.0;  // that the calling threads waited: communication that nothing hid
};

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int64_t rank() const = 0;
  virtual int64_t world_size() const = 0;
  // For messages: "rank 2 on host b".
  virtual std::string name_of(int64_t rank) const = 0;

  // Both take a contiguous tensor of world_size() equal parts, begin at once and go on while the caller computes. Every
  // rank calls the same collectives, with tensors of the same size and type, in the same order.
  //
  // Afterwards part rank() holds the sum of all ranks' parts of that number; the others are undefined. float, double
  // and int64.
  virtual Pending reduce_scatter_sum(const at::Tensor& parts) = 0;
  // Afterwards every part is what the rank of its number had there.
  virtual Pending all_gather(const at::Tensor& parts) = 0;

  virtual Traffic traffic() const { return {}; }
  // Says that this rank's own work goes on, for whoever watches it.
  virtual void note_progress() {}

  // Sums each tensor over the ranks, in place.
  void all_reduce_sum(const std::vector<at::Tensor>& tensors);
  // double [world_size(), values]: what every rank gave.
  at::Tensor all_gather_values(const std::vector<double>& values);
  // The text of every rank.
  std::vector<std::string> all_gather_text(const std::string& text);
  // True where any rank says true.
  bool any(bool value);
  // Gives every rank the values that rank 0 has, in place.
  void broadcast(const std::vector<at::Tensor>& tensors);
  void barrier();
};

class SingleProcess final : public Communicator {
 public:
  int64_t rank() const override { return 0; }
  int64_t world_size() const override { return 1; }
  std::string name_of(int64_t rank) const override;
  Pending reduce_scatter_sum(const at::Tensor& parts) override;
  Pending all_gather(const at::Tensor& parts) override;
};

}  // namespace dlcm
