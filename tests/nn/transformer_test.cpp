// The transformer stack: packed documents, and its parts.
#include "dlcm/nn/transformer.h"

#include "dlcm/nn/precision.h"
#include "tests/support/gradients.h"

#include <gtest/gtest.h>

#include <thread>

namespace dlcm {
namespace {

constexpr int64_t kWidth = 12;

Transformer random_stack(int64_t layers, bool checkpoint_activations = false, int64_t window = 0) {
  at::manual_seed(1);
  const StackConfig config{
      .width = kWidth, .layers = layers, .feed_forward = 20, .heads = 6, .kv_heads = 2, .window = window};
  Transformer stack(config, 100.0, 1e-5, checkpoint_activations);
  stack->to(at::kDouble);
  const at::NoGradGuard no_gradient;
  for (auto& parameter : stack->parameters()) parameter.normal_(0.0, 0.4);
  return stack;
}

at::Tensor rows_of(const at::Tensor& x, const Documents& documents, int64_t document) {
  const int64_t first = documents.offsets[document];
  return x.narrow(0, first, documents.offsets[document + 1] - first);
}

// ---- Documents

TEST(Documents, CountPositionsFromEachDocumentsStart) {
  const auto documents = Documents::from_offsets({0, 3, 3, 4});
  EXPECT_EQ(documents.size(), 3);
  EXPECT_EQ(documents.rows(), 4);
  EXPECT_TRUE(at::equal(documents.position_T, at::tensor({0, 1, 2, 0}, at::kLong)));
  EXPECT_TRUE(at::equal(documents.begin_T, at::tensor({0, 0, 0, 3}, at::kLong)));
  EXPECT_TRUE(at::equal(documents.end_T, at::tensor({1, 2, 3, 4}, at::kLong)));
  EXPECT_EQ(Documents::from_offsets({0}).rows(), 0);
}

TEST(Documents, WithinAWindowEachRowSeesItsLastRows) {
  const auto documents = Documents::from_offsets({0, 4, 6});
  EXPECT_TRUE(at::equal(documents.within(2).begin_T, at::tensor({0, 0, 1, 2, 4, 4}, at::kLong)));
  EXPECT_TRUE(at::equal(documents.within(1).begin_T, documents.end_T - 1));
  EXPECT_TRUE(at::equal(documents.within(0).begin_T, documents.begin_T));
  EXPECT_TRUE(at::equal(documents.within(2).end_T, documents.end_T));
}

TEST(Documents, OffsetsThatDecreaseThrow) {
  EXPECT_THROW(Documents::from_offsets({}), c10::Error);
  EXPECT_THROW(Documents::from_offsets({1, 2}), c10::Error);
  EXPECT_THROW(Documents::from_offsets({0, 3, 2, 4}), c10::Error);
}

// ---- Transformer

TEST(Transformer, CheckpointedLayersGiveTheSameBits) {
  const auto documents = Documents::from_offsets({0, 20, 33});
  const auto run = [&](bool checkpoint_activations) {
    auto stack = random_stack(2, checkpoint_activations);
    auto x = at::ones({33, kWidth}, at::kDouble).requires_grad_();
    stack->forward(x, documents).square().sum().backward();
    test::Tensors gradients{x.grad()};
    for (const auto& parameter : stack->parameters()) gradients.push_back(parameter.grad());
    return gradients;
  };
  const auto expected = run(false), actual = run(true);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_TRUE(at::equal(actual[i], expected[i])) << i;
  // Without a gradient there is nothing to keep.
  const at::NoGradGuard no_gradient;
  const auto x = at::randn({33, kWidth}, at::kDouble);
  EXPECT_TRUE(at::equal(random_stack(2, true)->forward(x, documents), random_stack(2)->forward(x, documents)));
}

TEST(Transformer, PackedDocumentsGetWhatTheyGetAlone) {
  const at::NoGradGuard no_gradient;
  auto stack = random_stack(3);
  const auto documents = Documents::from_offsets({0, 70, 70, 71, 90});
  const auto x = at::randn({90, kWidth}, at::kDouble);
  const auto packed = stack->forward(x, documents);
  for (int64_t document = 0; document < documents.size(); ++document) {
    const auto rows = rows_of(x, documents, document);
    const auto alone = stack->forward(rows, Documents::from_offsets({0, rows.size(0)}));
    EXPECT_LE(test::distance(rows_of(packed, documents, document), alone), 1e-12) << document;
  }
}

TEST(Transformer, LaterRowsDoNotMatter) {
  const at::NoGradGuard no_gradient;
  auto stack = random_stack(2);
  const auto documents = Documents::from_offsets({0, 20});
  const auto x = at::randn({20, kWidth}, at::kDouble);
  const auto before = stack->forward(x, documents);
  for (const int64_t t : {0, 7, 19}) {
    auto changed = x.clone();
    changed[t].add_(1.0);
    const auto after = stack->forward(changed, documents);
    EXPECT_LE(test::distance(after.narrow(0, 0, t), before.narrow(0, 0, t)), 1e-13);
    EXPECT_GT(test::distance(after[t], before[t]), 1e-3);
  }
}

TEST(Transformer, EarlierRowsMatter) {
  const at::NoGradGuard no_gradient;
  auto stack = random_stack(2);
  const auto x = at::randn({20, kWidth}, at::kDouble);
  auto changed = x.clone();
  changed[3].add_(1.0);
  const auto documents = Documents::from_offsets({0, 20});
  EXPECT_GT(test::distance(stack->forward(changed, documents)[19], stack->forward(x, documents)[19]), 1e-6);
}

TEST(Transformer, RowsBeforeTheWindowDoNotMatter) {
  const auto documents = Documents::from_offsets({0, 20});
  auto stack = random_stack(1, false, 4);
  const auto x = at::randn({20, kWidth}, at::kDouble);
  auto changed = x.clone();
  changed[7] += 1.0;
  const auto difference = (stack->forward(x, documents) - stack->forward(changed, documents)).abs().amax(1);
  for (int64_t row = 0; row < 20; ++row) {
    EXPECT_EQ(difference[row].item<double>() > 1e-6, row >= 7 && row < 11) << row;
  }
}

TEST(Transformer, ALayerReadsWhatIsPutBeforeIt) {
  const auto documents = Documents::from_offsets({0, 9});
  auto both = random_stack(2);
  const auto x = at::randn({9, kWidth}, at::kDouble), other = at::randn({9, kWidth}, at::kDouble);
  std::vector<size_t> layers;
  const auto replaced = both->forward(x, documents, [&](size_t layer, const at::Tensor& input) {
    layers.push_back(layer);
    return layer == 1 ? other : input;
  });
  EXPECT_EQ(layers, (std::vector<size_t>{0, 1}));
  // The second layer by itself.
  auto second = random_stack(1);
  for (auto& entry : second->named_parameters()) {
    auto name = entry.key();
    const at::NoGradGuard no_gradient;
    entry.value().copy_(both->named_parameters()[name.replace(0, std::string("layers0").size(), "layers1")]);
  }
  EXPECT_TRUE(at::equal(replaced, second->forward(other, documents)));
}

TEST(Transformer, NoLayersIsTheIdentity) {
  auto stack = random_stack(0);
  const auto x = at::randn({4, kWidth}, at::kDouble);
  EXPECT_TRUE(at::equal(stack->forward(x, Documents::from_offsets({0, 4})), x));
}

// ---- Linear layers

TEST(Linear, MultipliesByTheTransposedWeight) {
  Linear linear(3, 2);
  linear->weight.detach().copy_(at::tensor({1.0F, 2.0F, 3.0F, 0.0F, -1.0F, 0.5F}).view({2, 3}));
  const auto out = linear->forward(at::tensor({1.0F, 1.0F, 2.0F}).view({1, 3}));
  EXPECT_TRUE(at::equal(out, at::tensor({9.0F, 0.0F}).view({1, 2})));
  EXPECT_THROW(linear->forward(at::zeros({1, 2})), c10::Error);
  EXPECT_THROW(linear_product(at::zeros({1, 3}), {}), c10::Error);
  EXPECT_THROW(linear_product(at::zeros({1, 3}), {linear->weight, at::zeros({2, 4})}), c10::Error);
}

test::Function product() {
  return [](const test::Tensors& x) { return linear_product(x[0], {x[1]}); };
}

TEST(Linear, GradientsAreFiniteDifferences) {
  test::expect_finite_differences(product(), {at::randn({4, 3}, at::kDouble), at::randn({5, 3}, at::kDouble)});
}

TEST(Linear, MatricesSideBySideAreTheirProductsSideBySide) {
  at::manual_seed(4);
  const auto joint = [](const test::Tensors& x) { return linear_product(x[0], {x[1], x[2], x[3]}); };
  const auto apart = [](const test::Tensors& x) {
    return at::cat({at::mm(x[0], x[1].t()), at::mm(x[0], x[2].t()), at::mm(x[0], x[3].t())}, 1);
  };
  for (const int64_t rows : {0, 1, 31, 32, 70}) {  // few and many
    test::expect_equal_to_reference(joint, apart,
                                    {at::randn({rows, 6}, at::kDouble), at::randn({5, 6}, at::kDouble),
                                     at::randn({1, 6}, at::kDouble), at::randn({8, 6}, at::kDouble)});
  }
}

at::Tensor rounded(const at::Tensor& tensor) { return tensor.to(at::kBFloat16).to(at::kDouble); }

// One rounding of the result, and float sums of the products.
void expect_rounded_product(const at::Tensor& actual, const at::Tensor& left, const at::Tensor& right) {
  const auto exact = at::mm(left, right), magnitude = at::mm(left.abs(), right.abs());
  EXPECT_TRUE((actual.to(at::kDouble) - exact).abs().le(exact.abs() / 256 + magnitude * 1e-5).all().item<bool>());
}

TEST(Linear, BFloat16IsTheProductOfRoundedNumbers) {
  at::manual_seed(2);
  const auto x = at::randn({9, 40}), weight = at::randn({11, 40});
  test::ValueAndGradients result;
  {
    const MatrixPrecision precision(true);
    result = test::value_and_gradients(product(), {x, weight});
  }
  EXPECT_EQ(result.value.scalar_type(), at::kFloat);
  expect_rounded_product(result.value, rounded(x), rounded(weight).t());
  const auto direction = rounded(test::direction_like(result.value));
  expect_rounded_product(result.gradients[0], direction, rounded(weight));
  expect_rounded_product(result.gradients[1], direction.t(), rounded(x));
  EXPECT_GT(test::distance(result.value, at::mm(x, weight.t())), 1e-5) << "not rounded at all";
}

TEST(Linear, BackwardUsesTheTypeOfItsForward) {
  at::manual_seed(3);
  const test::Tensors inputs{at::randn({9, 40}), at::randn({11, 40})};
  const auto exact = test::value_and_gradients(product(), inputs);
  const auto mixed = test::value_and_gradients(
      [](const test::Tensors& x) {
        const MatrixPrecision precision(true);
        return linear_product(x[0], {x[1]});
      },
      inputs);
  EXPECT_GT(test::distance(mixed.gradients[0], exact.gradients[0]), 1e-5);
  EXPECT_LT(test::distance(mixed.gradients[0], exact.gradients[0]), 0.02);
}

TEST(MatrixPrecision, LastsAsLongAsItLives) {
  EXPECT_FALSE(MatrixPrecision::is_bfloat16());
  {
    const MatrixPrecision outer(true);
    {
      const MatrixPrecision inner(false);
      EXPECT_FALSE(MatrixPrecision::is_bfloat16());
    }
    EXPECT_TRUE(MatrixPrecision::is_bfloat16());
    bool other_thread = true;
    std::thread([&] { other_thread = MatrixPrecision::is_bfloat16(); }).join();
    EXPECT_FALSE(other_thread);
  }
  EXPECT_FALSE(MatrixPrecision::is_bfloat16());
}

TEST(MatrixPrecision, LeavesDoubleAlone) {
  const auto x = at::randn({4, 6}, at::kDouble), weight = at::randn({5, 6}, at::kDouble);
  const MatrixPrecision precision(true);
  EXPECT_TRUE(at::equal(linear_product(x, {weight}), at::mm(x, weight.t())));
}

}  // namespace
}  // namespace dlcm
