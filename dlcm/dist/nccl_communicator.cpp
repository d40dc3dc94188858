#include "dlcm/dist/nccl_communicator.h"

#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/cuda/nccl.h>

#include <cstring>

namespace dlcm {
namespace {

namespace nccl = torch::cuda::nccl;

// Done when the stream has come past the collective.
class OnStream final : public PendingCollective {
 public:
  OnStream(at::Tensor parts, const c10::cuda::CUDAStream& stream) : parts_(std::move(parts)) { event_.record(stream); }
  void wait() override { event_.block(at::cuda::getCurrentCUDAStream()); }

 private:
  at::Tensor parts_;  // kept until then
  at::cuda::CUDAEvent event_;
};

}  // namespace

struct NcclCommunicator::Implementation {
  nccl::ncclComm_t communicator = nullptr;
  c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool(/*isHighPriority=*/true);
  int64_t bytes_sent = 0;

  // Lets the stream wait for what the current one is doing.
  void follow() const {
    at::cuda::CUDAEvent event;
    event.record(at::cuda::getCurrentCUDAStream());
    event.block(stream);
  }
};

NcclCommunicator::NcclCommunicator(Communicator& host)
    : host_(host), implementation_(std::make_unique<Implementation>()) {
  nccl::ncclUniqueId identity{};
  if (host.rank() == 0) nccl::get_unique_id(identity);
  const auto all = host.all_gather_text(std::string(identity.internal, sizeof(identity.internal)));
  std::memcpy(identity.internal, all[0].data(), sizeof(identity.internal));
  implementation_->communicator =
      nccl::comm_init_rank(static_cast<int>(host.world_size()), identity, static_cast<int>(host.rank()));
}

NcclCommunicator::~NcclCommunicator() { nccl::comm_destroy(implementation_->communicator); }

Pending NcclCommunicator::reduce_scatter_sum(const at::Tensor& parts) {
  if (!parts.is_cuda()) return host_.reduce_scatter_sum(parts);
  TORCH_CHECK(parts.is_contiguous() && parts.numel() % world_size() == 0, "NcclCommunicator: unequal parts");
  const auto all = parts.detach().view({-1});
  const int64_t part = all.numel() / world_size();
  std::vector<at::Tensor> own{all.narrow(0, rank() * part, part)};
  implementation_->follow();
  nccl::reduce_scatter({all}, own, static_cast<int32_t>(nccl::ncclRedOp::Sum), {implementation_->stream},
                       {implementation_->communicator});
  implementation_->bytes_sent += (world_size() - 1) * static_cast<int64_t>(own[0].nbytes());
  return std::make_shared<OnStream>(parts, implementation_->stream);
}

Pending NcclCommunicator::all_gather(const at::Tensor& parts) {
  if (!parts.is_cuda()) return host_.all_gather(parts);
  TORCH_CHECK(parts.is_contiguous() && parts.numel() % world_size() == 0, "NcclCommunicator: unequal parts");
  std::vector<at::Tensor> all{parts.detach().view({-1})};
  const int64_t part = all[0].numel() / world_size();
  const auto own = all[0].narrow(0, rank() * part, part);
  implementation_->follow();
  nccl::all_gather({own}, all, {implementation_->stream}, {implementation_->communicator});
  implementation_->bytes_sent += (world_size() - 1) * static_cast<int64_t>(own.nbytes());
  return std::make_shared<OnStream>(parts, implementation_->stream);
}

Traffic NcclCommunicator::traffic() const {
  auto traffic = host_.traffic();
  traffic.bytes_sent += implementation_->bytes_sent;
  return traffic;
}

}  // namespace dlcm
