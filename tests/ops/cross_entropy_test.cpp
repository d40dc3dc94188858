// The head's product with its softmax cross-entropy against the reference and finite differences, and at its edges.
#include "dlcm/ops/cross_entropy.h"

#include "tests/ops/pair.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace dlcm {
namespace {

using test::expect_equal;
using test::kTypes;
using test::Pair;
using test::tensor_of;
using test::Tensors;

Pair cross_entropies(const at::Tensor& target, double scale) {
  return {[=](const Tensors& x) { return cross_entropy(x[0], x[1], target, scale).sum; },
          [=](const Tensors& x) { return cross_entropy_reference(x[0], x[1], target, scale).sum; }};
}

TEST(CrossEntropy, EqualsReference) {
  at::manual_seed(7);
  for (const auto type : kTypes) {
    for (const int64_t tokens : {0, 1, 5, 1100}) {  // 1100 rows are three chunks
      for (const double scale : {1.0, 0.25}) {
        SCOPED_TRACE(testing::Message() << tokens << " tokens, scale " << scale << ", " << type);
        const auto target = at::randint(-1, 11, {tokens}, at::kLong);
        const Tensors inputs{at::randn({tokens, 6}, type), at::randn({11, 6}, type)};
        const auto fast = cross_entropy(inputs[0], inputs[1], target, scale);
        const auto reference = cross_entropy_reference(inputs[0], inputs[1], target, scale);
        EXPECT_LE(test::distance(fast.nll_T, reference.nll_T), test::tolerance_of(type));
        EXPECT_LE(test::distance(fast.sum, reference.sum), test::tolerance_of(type));
        // Per token, so that float's sum over 1100 rows is compared as closely as one row's.
        const double share = scale / static_cast<double>(std::max<int64_t>(1, tokens));
        const auto pair = cross_entropies(target, scale);
        expect_equal({[&](const Tensors& x) { return pair.fast(x) * share; },
                      [&](const Tensors& x) { return pair.reference(x) * share; }},
                     inputs);
      }
    }
    const auto target = at::randint(-1, 7, {6}, at::kLong);
    expect_equal(cross_entropies(target, 0.5),
                 {test::with_gaps(at::randn({6, 4}, type)), test::with_gaps(at::randn({7, 4}, type))});
  }
}

// What bfloat16 costs: inputs and logits carry 8 bits, sums of products are in float.
TEST(CrossEntropy, InBFloat16IsCloseToTheReference) {
  at::manual_seed(8);
  for (const int64_t tokens : {1, 5, 1100}) {
    for (const double scale : {1.0, 0.25}) {
      const auto target = at::randint(-1, 70, {tokens}, at::kLong);
      // Numbers that bfloat16 holds exactly leave the rounding of logits and of their gradients.
      const auto y = at::randn({tokens, 6}).to(at::kBFloat16).to(at::kFloat);
      const auto head = at::randn({70, 6}).to(at::kBFloat16).to(at::kFloat);
      const auto low = [&](const Tensors& x) {
        return cross_entropy(x[0], x[1], target, scale, ProductPrecision::bfloat16).sum / static_cast<double>(tokens);
      };
      const auto exact = [&](const Tensors& x) {
        return cross_entropy_reference(x[0], x[1], target, scale).sum / static_cast<double>(tokens);
      };
      const auto fast = test::value_and_gradients(low, {y, head}),
                 reference = test::value_and_gradients(exact, {y, head});
      EXPECT_LE(test::distance(fast.value, reference.value), 0.02);
      for (size_t i = 0; i < 2; ++i) {
        EXPECT_LE((fast.gradients[i] - reference.gradients[i]).norm().item<double>(),
                  0.02 * reference.gradients[i].norm().item<double>() + 1e-12);
      }
    }
  }
  EXPECT_THROW(cross_entropy(at::randn({2, 3}, at::kDouble), at::randn({4, 3}, at::kDouble), tensor_of({1, 2}), 1.0,
                             ProductPrecision::bfloat16),
               c10::Error);
}

TEST(CrossEntropy, GradientsAreFiniteDifferences) {
  test::expect_finite_differences(cross_entropies(tensor_of({2, -1, 0, 4}), 0.5).fast,
                                  {at::randn({4, 3}, at::kDouble), at::randn({5, 3}, at::kDouble)});
}

TEST(CrossEntropy, SameLossesOnOneThreadAndOnTwo) {
  const auto target = at::randint(0, 50, {200}, at::kLong);
  test::expect_independent_of_threads(cross_entropies(target, 1.0).fast, {at::randn({200, 16}), at::randn({50, 16})});
}

TEST(CrossEntropy, RowsWithoutTargetCountForNothing) {
  const auto target = tensor_of({-1, 3, -1});
  const auto y = at::randn({3, 4}), head = at::randn({6, 4});
  const auto result = cross_entropy(y, head, target, 1.0);
  EXPECT_EQ(result.nll_T[0].item<float>(), 0.0F);
  EXPECT_EQ(result.nll_T[2].item<float>(), 0.0F);
  EXPECT_EQ(result.sum.item<float>(), result.nll_T[1].item<float>());
  const auto gradients = test::value_and_gradients(cross_entropies(target, 1.0).fast, {y, head}).gradients;
  EXPECT_TRUE(at::equal(gradients[0][0], at::zeros({4})));
  EXPECT_TRUE(at::equal(gradients[0][2], at::zeros({4})));
}

TEST(CrossEntropy, UniformLogitsCostTheLogarithmOfTheVocabulary) {
  const auto result =
      cross_entropy(at::zeros({2, 3}, at::kDouble), at::randn({17, 3}, at::kDouble), tensor_of({0, 16}), 1.0);
  EXPECT_NEAR(result.sum.item<double>(), 2 * std::log(17.0), 1e-12);
}

TEST(CrossEntropy, HugeLogitsStayFinite) {
  const auto result =
      cross_entropy(at::full({1, 1}, 1e20), at::tensor({1e10F, -1e10F}).view({2, 1}), tensor_of({1}), 1.0);
  EXPECT_FLOAT_EQ(result.sum.item<float>(), 2e30F);
}

TEST(CrossEntropy, NotANumberIsNotHidden) {
  auto y = at::randn({2, 3});
  y[1][0] = std::nan("");
  const auto result = cross_entropy(y, at::randn({40, 3}), tensor_of({5, 5}), 1.0);
  EXPECT_TRUE(std::isfinite(result.nll_T[0].item<float>()));
  EXPECT_TRUE(std::isnan(result.nll_T[1].item<float>()));
  EXPECT_TRUE(std::isnan(result.sum.item<float>()));
}

TEST(CrossEntropy, TargetsOutsideTheVocabularyThrow) {
  const auto y = at::randn({2, 3}), head = at::randn({4, 3});
  for (const int64_t wrong : {-2, 4}) EXPECT_THROW(cross_entropy(y, head, tensor_of({0, wrong}), 1.0), c10::Error);
  EXPECT_THROW(cross_entropy(y, head, tensor_of({0}), 1.0), c10::Error);
  EXPECT_THROW(cross_entropy(y, head, at::zeros({2}), 1.0), c10::Error);
  EXPECT_THROW(cross_entropy(y, at::randn({4, 2}), tensor_of({0, 1}), 1.0), c10::Error);
}

}  // namespace
}  // namespace dlcm
