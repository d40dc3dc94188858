// Range attention takes memory for its tensors and little more, never queries times keys.
#include "dlcm/ops/range_attention.h"
#include "tests/support/memory.h"

#include <gtest/gtest.h>

namespace dlcm {
namespace {

TEST(RangeAttentionMemory, GrowsWithQueriesPlusKeys) {
  constexpr int64_t kTokens = 16384, kSize = 16;
  for (const auto precision : {ProductPrecision::as_given, ProductPrecision::bfloat16}) {
    const auto tensor = [] { return at::randn({kTokens, 1, kSize}).requires_grad_(); };
    const RangeAttentionInput input{.q_TNH = tensor(),
                                    .k_SGH = tensor(),
                                    .v_SGH = tensor(),
                                    .begin_T = at::zeros({kTokens}, at::kLong),
                                    .end_T = at::arange(1, kTokens + 1, at::kLong),
                                    .key_bias_S = {},
                                    .last_key_bias_T = {}};
    test::reset_peak_memory();
    const int64_t before = test::peak_resident_bytes();
    ASSERT_GT(before, 0);
    range_attention(input, precision).sum().backward();
    // The scores alone would be 1,074 MB; eight tensors of queries or keys are 8 MB.
    EXPECT_LT(test::peak_resident_bytes() - before, 40e6);
  }
}

}  // namespace
}  // namespace dlcm
