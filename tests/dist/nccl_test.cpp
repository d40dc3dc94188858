// The collectives between GPUs, on one of them: more ranks need more GPUs.
#include "dlcm/dist/communicator.h"

#include <gtest/gtest.h>

#ifdef DLCM_NCCL
#include "dlcm/dist/nccl_communicator.h"

#include <ATen/cuda/CUDAContext.h>
#endif

namespace dlcm {
namespace {

TEST(Nccl, ASingleRankGetsItsOwnPartsBack) {
#ifdef DLCM_NCCL
  if (!at::cuda::is_available()) GTEST_SKIP() << "no GPU here";
  SingleProcess host;
  NcclCommunicator communicator(host);
  const auto values = at::randn({1000}, at::TensorOptions(at::kCUDA));
  for (const bool reduces : {true, false}) {
    const auto parts = values.clone();
    (reduces ? communicator.reduce_scatter_sum(parts) : communicator.all_gather(parts))->wait();
    EXPECT_TRUE(at::equal(parts, values));
  }
#else
  GTEST_SKIP() << "LibTorch is not a CUDA build, so the collectives between GPUs are not compiled";
#endif
}

}  // namespace
}  // namespace dlcm
