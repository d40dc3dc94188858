#include "dlcm/train/tensor_memory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace dlcm {
namespace {

TEST(TensorMemory, IsTheMostThatWasHeldAtOnce) {
  const TensorMemory memory;
  constexpr int64_t kMegabyte = 1 << 20;
  auto kept = at::empty({kMegabyte}, at::kFloat);
  { const auto passing = at::empty({3 * kMegabyte}, at::kByte); }
  { const auto passing = at::empty({2 * kMegabyte}, at::kByte); }
  EXPECT_EQ(memory.peak_bytes(), 7 * kMegabyte);
  kept.reset();
  const auto less = at::empty({6 * kMegabyte}, at::kByte);
  EXPECT_EQ(memory.peak_bytes(), 7 * kMegabyte);
  const TensorMemory inner;
  EXPECT_EQ(inner.peak_bytes(), 0);
}

}  // namespace
}  // namespace dlcm
