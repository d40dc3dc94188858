// Range attention by what LibTorch ships: the masked form everywhere, the CUDA registration where there is a GPU.
#include "dlcm/ops/range_attention_masked.h"
#include "tests/support/gradients.h"

#include <gtest/gtest.h>

namespace dlcm {
namespace {

at::Tensor tensor_of(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); }

RangeAttentionInput input_of(at::ScalarType type, const at::Tensor& begin, const at::Tensor& end, int64_t keys) {
  at::manual_seed(12);
  return {.q_TNH = at::randn({begin.size(0), 4, 8}, type),
          .k_SGH = at::randn({keys, 2, 8}, type),
          .v_SGH = at::randn({keys, 2, 8}, type),
          .begin_T = begin,
          .end_T = end,
          .key_bias_S = {},
          .last_key_bias_T = {}};
}

using Form = at::Tensor (*)(const RangeAttentionInput&);

test::Function attention(const RangeAttentionInput& input, Form form) {
  return [=](const test::Tensors& x) {
    auto given = input;
    given.q_TNH = x[0];
    given.k_SGH = x[1];
    given.v_SGH = x[2];
    return form(given);
  };
}

std::vector<RangeAttentionInput> problems(at::ScalarType type) {
  auto ragged = input_of(type, tensor_of({0, 0, 2, 2, 5, 5, 6}), tensor_of({1, 3, 4, 5, 5, 6, 9}), 9);
  auto biased = ragged;
  biased.key_bias_S = at::randn({9}, type);
  biased.last_key_bias_T = at::randn({7}, type);
  return {ragged, biased, input_of(type, tensor_of({0, 0, 0, 3, 3}), tensor_of({1, 2, 3, 4, 5}), 5)};
}

TEST(RangeAttentionMasked, EqualsReference) {
  for (const auto& input : problems(at::kDouble)) {
    test::expect_equal_to_reference(attention(input, range_attention_masked),
                                    attention(input, range_attention_reference),
                                    {input.q_TNH, input.k_SGH, input.v_SGH});
  }
}

TEST(RangeAttentionMasked, GivesZerosWithoutKeys) {
  const auto input = input_of(at::kFloat, tensor_of({0, 0}), tensor_of({0, 0}), 0);
  EXPECT_TRUE(at::equal(range_attention_masked(input), at::zeros_like(input.q_TNH)));
}

TEST(CausalOffsets, AreFoundInPackedDocumentsAlone) {
  const auto offsets = [](const at::Tensor& begin, const at::Tensor& end, int64_t keys) {
    return causal_offsets(input_of(at::kFloat, begin, end, keys));
  };
  EXPECT_EQ(offsets(tensor_of({0, 0, 2, 3, 3}), tensor_of({1, 2, 3, 4, 5}), 5), (std::vector<int64_t>{0, 2, 3, 5}));
  EXPECT_EQ(offsets(tensor_of({0}), tensor_of({1}), 1), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(offsets(tensor_of({0, 0}), tensor_of({1, 1}), 2), std::nullopt);        // sees less
  EXPECT_EQ(offsets(tensor_of({0, 0, 1}), tensor_of({1, 2, 3}), 3), std::nullopt);  // a window
  EXPECT_EQ(offsets(tensor_of({0, 0}), tensor_of({1, 2}), 3), std::nullopt);        // other keys
  auto biased = input_of(at::kFloat, tensor_of({0}), tensor_of({1}), 1);
  biased.key_bias_S = at::zeros({1});
  EXPECT_EQ(causal_offsets(biased), std::nullopt);
}

TEST(RangeAttentionCuda, EqualsTheCpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU here: range attention on CUDA is not yet run";
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    for (const auto& input : problems(at::kFloat)) {
      const auto on_gpu = [&](const test::Tensors& x) {
        auto given = input;
        given.q_TNH = x[0].to(at::kCUDA, type);
        given.k_SGH = x[1].to(at::kCUDA, type);
        given.v_SGH = x[2].to(at::kCUDA, type);
        return range_attention(given).to(at::kCPU, at::kFloat);
      };
      const auto actual = test::value_and_gradients(on_gpu, {input.q_TNH, input.k_SGH, input.v_SGH});
      const auto expected = test::value_and_gradients(attention(input, range_attention_reference),
                                                      {input.q_TNH, input.k_SGH, input.v_SGH});
      const double tolerance = type == at::kFloat ? 2e-5 : 3e-2;
      EXPECT_LE(test::distance(actual.value, expected.value), tolerance);
      for (size_t i = 0; i < 3; ++i) EXPECT_LE(test::distance(actual.gradients[i], expected.gradients[i]), tolerance);
    }
  }
}

}  // namespace
}  // namespace dlcm
