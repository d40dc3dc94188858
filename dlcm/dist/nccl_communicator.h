// The collectives between GPUs, one a rank: NCCL through LibTorch, which brings it where it is a CUDA build (elsewhere
// this file's source is not compiled). MPI starts the ranks, carries NCCL's identity to them and everything that is in
// host memory. Not yet run on GPUs.
//
// NCCL adds along its rings, in an order that is the same for the same ranks and sizes.
#pragma once

#include "dlcm/dist/communicator.h"

namespace dlcm {

class NcclCommunicator final : public Communicator {
 public:
  // Joins the ranks of `host`, which must outlive this, with the GPU that is current on this thread. Every rank calls
  // this.
  explicit NcclCommunicator(Communicator& host);
  ~NcclCommunicator() override;
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int64_t rank() const override { return host_.rank(); }
  int64_t world_size() const override { return host_.world_size(); }
  std::string name_of(int64_t rank) const override { return host_.name_of(rank); }
  // Tensors of the GPU go over a stream of their own, begun after what the current stream has been given so far; wait()
  // makes the current stream wait, not the host. Tensors in host memory go to `host`.
  Pending reduce_scatter_sum(const at::Tensor& parts) override;
  Pending all_gather(const at::Tensor& parts) override;
  Traffic traffic() const override;
  void note_progress() override { host_.note_progress(); }

 private:
  struct Implementation;
  Communicator& host_;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace dlcm
