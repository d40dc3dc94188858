#include "dlcm/train/tensor_memory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace dlcm {
namespace {

TEST(TensorMemory, IsTheMostThatWasHeldAtOnce) {
  TensorMemory memory;
  constexpr int64_t kMegabyte = 1 << 20;
  auto kept = at::empty({kMegabyte}, at::kFloat);
  { const auto passing = at::empty({3 * kMegabyte}, at::kByte); }
  { const auto passing = at::empty({2 * kMegabyte}, at::kByte); }
  EXPECT_EQ(memory.peak_bytes(), 7 * kMegabyte);
  memory.reset();
  EXPECT_EQ(memory.peak_bytes(), 0);
  const auto more = at::empty({kMegabyte}, at::kByte);
  kept.reset();
  const auto less = at::empty({kMegabyte}, at::kByte);
  EXPECT_EQ(memory.peak_bytes(), kMegabyte);
}

}  // namespace
}  // namespace dlcm
