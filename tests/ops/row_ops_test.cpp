// The ops that work row by row or in one sweep: norm, gate, rotation, means, moving average. Each against
// its reference and against finite differences, and at its edges.
#include "dlcm/ops/adamw.h"
#include "dlcm/ops/boundary_scores.h"
#include "dlcm/ops/moving_average.h"
#include "dlcm/ops/rms_norm.h"
#include "dlcm/ops/rotary.h"
#include "dlcm/ops/segment_mean.h"
#include "dlcm/ops/swiglu.h"
#include "tests/ops/pair.h"

#include <ATen/ops/_fused_adamw.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

namespace dlcm {
namespace {

using test::expect_equal;
using test::kTypes;
using test::Pair;
using test::tensor_of;
using test::Tensors;

Pair rms_norms(double epsilon = 1e-5) {
  return {[=](const Tensors& x) { return rms_norm(x[0], x[1], epsilon); },
          [=](const Tensors& x) { return rms_norm_reference(x[0], x[1], epsilon); }};
}

Pair swiglus() {
  return {[](const Tensors& x) { return swiglu(x[0]); }, [](const Tensors& x) { return swiglu_reference(x[0]); }};
}

// Queries, keys and values of three and two heads, side by side.
Pair rotaries(const RotaryAngles& angles) {
  const auto joined = [](const QueryKeyValue& parts) {
    return at::cat({parts.q_TNH, parts.k_TGH, parts.v_TGH}, 1).square();  // a gradient that differs from place to place
  };
  return {[=](const Tensors& x) { return joined(rotary(x[0], 3, 2, angles)); },
          [=](const Tensors& x) { return joined(rotary_reference(x[0], 3, 2, angles)); }};
}

Pair segment_means(const at::Tensor& begin, const at::Tensor& end) {
  return {[=](const Tensors& x) { return segment_mean(x[0], begin, end); },
          [=](const Tensors& x) { return segment_mean_reference(x[0], begin, end); }};
}

Pair moving_averages(const at::Tensor& initial) {
  return {[=](const Tensors& x) { return moving_average(x[0], x[1], initial); },
          [=](const Tensors& x) { return moving_average_reference(x[0], x[1], initial); }};
}

// ---- RMSNorm

TEST(RmsNorm, EqualsReference) {
  at::manual_seed(1);
  for (const auto type : kTypes) {
    for (const int64_t rows : {0, 1, 3, 300, 600}) {
      for (const int64_t size : {1, 2, 7, 16, 33, 128}) {
        SCOPED_TRACE(testing::Message() << rows << " rows of " << size << " " << type);
        expect_equal(rms_norms(), {at::randn({rows, size}, type), at::randn({size}, type)});
      }
    }
    expect_equal(rms_norms(), {at::randn({5, 3, 8}, type), at::randn({8}, type)});
    expect_equal(rms_norms(), {at::randn({8}, type), at::randn({8}, type)});
    expect_equal(rms_norms(), {test::with_gaps(at::randn({5, 8}, type)), test::with_gaps(at::randn({8}, type))});
  }
}

TEST(RmsNorm, GradientsAreFiniteDifferences) {
  test::expect_finite_differences(rms_norms().fast, {at::randn({4, 5}, at::kDouble), at::randn({5}, at::kDouble)});
}

TEST(RmsNorm, SameBitsOnOneThreadAndOnTwo) {
  test::expect_independent_of_threads(rms_norms().fast, {at::randn({1000, 33}), at::randn({33})});
}

TEST(RmsNorm, ZerosStayZeros) {
  EXPECT_TRUE(at::equal(rms_norm(at::zeros({2, 4}), at::ones({4}), 1e-5), at::zeros({2, 4})));
}

TEST(RmsNorm, WrongShapesThrow) {
  EXPECT_THROW(rms_norm(at::randn({2, 4}), at::ones({3}), 1e-5), c10::Error);
  EXPECT_THROW(rms_norm(at::randn({2, 4}), at::ones({1, 4}), 1e-5), c10::Error);
  EXPECT_THROW(rms_norm(at::randn({2, 4}), at::ones({4}, at::kDouble), 1e-5), c10::Error);
}

// ---- SwiGLU

TEST(SwiGlu, EqualsReference) {
  at::manual_seed(2);
  for (const auto type : kTypes) {
    for (const auto& shape : std::vector<std::vector<int64_t>>{{0, 6}, {1, 2}, {3, 0}, {3, 14}, {130, 200}}) {
      expect_equal(swiglus(), {3 * at::randn(shape, type)});
    }
    expect_equal(swiglus(), {at::randn({8, 5}, type).t()});
    expect_equal(swiglus(), {test::with_gaps(at::randn({5, 8}, type))});
  }
}

TEST(SwiGlu, GradientsAreFiniteDifferences) {
  test::expect_finite_differences(swiglus().fast, {3 * at::randn({4, 10}, at::kDouble)});
}

TEST(SwiGlu, SameBitsOnOneThreadAndOnTwo) {
  test::expect_independent_of_threads(swiglus().fast, {at::randn({301, 134})});
}

TEST(SwiGlu, LargeGatesStayFinite) {
  for (const auto type : kTypes) {
    const auto gate = at::tensor({-1e4, -200.0, -88.0, 0.0, 88.0, 200.0, 1e4}, type);
    expect_equal(swiglus(), {at::cat({gate, at::full({7}, 2.0, type)}).unsqueeze(0)});
  }
}

TEST(SwiGlu, WrongShapesThrow) {
  EXPECT_THROW(swiglu(at::randn({2, 5})), c10::Error);
  EXPECT_THROW(swiglu(at::randn({4})), c10::Error);
  EXPECT_THROW(swiglu(at::randn({2, 3, 4})), c10::Error);
}

// ---- Rotary positions

TEST(Rotary, EqualsReference) {
  at::manual_seed(3);
  for (const auto type : kTypes) {
    for (const int64_t tokens : {0, 1, 200}) {
      for (const int64_t size : {2, 6, 64}) {
        const auto angles = rotary_angles(at::randint(0, 5000, {tokens}, at::kLong), size, 10000.0, type);
        expect_equal(rotaries(angles), {at::randn({tokens, 7 * size}, type)});
      }
    }
    const auto angles = rotary_angles(at::arange(5, at::kLong), 4, 100.0, type);
    expect_equal(rotaries(angles), {test::with_gaps(at::randn({5, 28}, type))});
  }
}

TEST(Rotary, GradientsAreFiniteDifferences) {
  const auto angles = rotary_angles(at::arange(3, 7, at::kLong), 6, 100.0, at::kDouble);
  test::expect_finite_differences(rotaries(angles).fast, {at::randn({4, 42}, at::kDouble)});
}

TEST(Rotary, SameBitsOnOneThreadAndOnTwo) {
  const auto angles = rotary_angles(at::arange(500, at::kLong), 10, 1e4, at::kFloat);
  test::expect_independent_of_threads(rotaries(angles).fast, {at::randn({500, 70})});
}

TEST(Rotary, TurnsPairsByPositionTimesFrequency) {
  const auto angles = rotary_angles(tensor_of({3}), 4, 100.0, at::kDouble);
  const auto x = at::tensor({1.0, 0.0, 0.0, 2.0}, at::kDouble).view({1, 4});
  const auto parts = rotary(at::cat({x, x, x}, 1), 1, 1, angles);
  // Pairs are (0, 2) at frequency 1 and (1, 3) at frequency 100^(-1/2).
  const auto expected = at::tensor({std::cos(3.0), -2 * std::sin(0.3), std::sin(3.0), 2 * std::cos(0.3)}, at::kDouble);
  EXPECT_LE(test::distance(parts.q_TNH.view({4}), expected), 1e-14);
  EXPECT_LE(test::distance(parts.k_TGH.view({4}), expected), 1e-14);
  EXPECT_TRUE(at::equal(parts.v_TGH.view({1, 4}), x));
}

TEST(Rotary, ProductsDependOnTheDistanceAlone) {
  at::manual_seed(4);
  const auto q = at::randn({1, 8}, at::kDouble), k = at::randn({1, 8}, at::kDouble);
  const auto product = [&](int64_t query_position, int64_t key_position) {
    const auto at_position = [](const at::Tensor& x, int64_t position) {
      return rotary(at::cat({x, x, x}, 1), 1, 1, rotary_angles(tensor_of({position}), 8, 1e4, at::kDouble)).q_TNH;
    };
    return (at_position(q, query_position) * at_position(k, key_position)).sum().item<double>();
  };
  EXPECT_NEAR(product(5, 2), product(1005, 1002), 1e-10);
  EXPECT_GT(std::abs(product(5, 2) - product(5, 3)), 1e-3);
}

TEST(Rotary, AnglesOfFarPositionsAreExactInFloat) {
  const auto angles = rotary_angles(tensor_of({1000003}), 2, 1e4, at::kFloat);
  EXPECT_FLOAT_EQ(angles.cosine_TH.item<float>(), static_cast<float>(std::cos(1000003.0)));
}

TEST(Rotary, WrongShapesThrow) {
  const auto angles = rotary_angles(at::arange(4, at::kLong), 6, 1e4, at::kFloat);
  EXPECT_THROW(rotary(at::randn({18}), 1, 1, angles), c10::Error);
  EXPECT_THROW(rotary(at::randn({3, 18}), 1, 1, angles), c10::Error);
  EXPECT_THROW(rotary(at::randn({4, 15}), 1, 1, angles), c10::Error);
  EXPECT_THROW(rotary(at::randn({4, 24}), 1, 1, angles), c10::Error);
  EXPECT_THROW(rotary(at::randn({4, 18}), 2, 1, angles), c10::Error);
}

// ---- Boundary scores

Pair boundary_score_pairs(const at::Tensor& row) {
  return {[=](const Tensors& x) { return boundary_scores(x[0], row, x[1]); },
          [=](const Tensors& x) { return boundary_scores_reference(x[0], row, x[1]); }};
}

TEST(BoundaryScores, EqualReference) {
  at::manual_seed(15);
  for (const auto type : kTypes) {
    expect_equal(boundary_score_pairs(tensor_of({-1, 0, 1, 5, 3})), {at::randn({6, 7}, type), at::randn({5, 7}, type)});
    expect_equal(boundary_score_pairs(tensor_of({-1})), {at::randn({1, 3}, type), at::randn({1, 3}, type)});
    expect_equal(boundary_score_pairs(tensor_of({})), {at::randn({0, 3}, type), at::randn({0, 3}, type)});
    const auto row = at::arange(-1, 499, at::kLong);
    expect_equal(boundary_score_pairs(row), {at::randn({500, 33}, type), test::with_gaps(at::randn({500, 33}, type))});
  }
}

TEST(BoundaryScores, GradientsAreFiniteDifferences) {
  test::expect_finite_differences(boundary_score_pairs(tensor_of({-1, 2, 0})).fast,
                                  {at::randn({4, 5}, at::kDouble), at::randn({3, 5}, at::kDouble)});
}

TEST(BoundaryScores, SameBitsOnOneThreadAndOnTwo) {
  test::expect_independent_of_threads(boundary_score_pairs(at::arange(-1, 599, at::kLong)).fast,
                                      {at::randn({600, 19}), at::randn({600, 19})});
}

TEST(BoundaryScores, AreNoughtAlongHalfAcrossAndOneAgainst) {
  const auto q = at::tensor({3.0, 0.0, 3.0, 0.0, 3.0, 0.0, 0.0, 0.0}).view({4, 2});
  const auto k = at::tensor({5.0, 0.0, 0.0, 0.1, -2.0, 0.0, 1.0, 1.0, 7.0, 7.0}).view({5, 2});
  const auto p = boundary_scores(q, tensor_of({0, 1, 2, 3, -1}), k);
  EXPECT_TRUE(at::equal(p, at::tensor({0.0, 0.5, 1.0, 0.5, 1.0})));
}

TEST(BoundaryScores, RowsOfZerosGetNoGradient) {
  const auto result =
      test::value_and_gradients(boundary_score_pairs(tensor_of({0, 1})).fast, {at::zeros({2, 3}), at::randn({2, 3})});
  EXPECT_TRUE(at::equal(result.gradients[0], at::zeros({2, 3})));
}

TEST(BoundaryScores, WrongRowsThrow) {
  EXPECT_THROW(boundary_scores(at::randn({2, 3}), tensor_of({0, 2}), at::randn({2, 3})), c10::Error);
  EXPECT_THROW(boundary_scores(at::randn({2, 3}), tensor_of({0, -2}), at::randn({2, 3})), c10::Error);
  EXPECT_THROW(boundary_scores(at::randn({2, 3}), tensor_of({0, 0}), at::randn({2, 3})), c10::Error);
  EXPECT_THROW(boundary_scores(at::randn({2, 3}), tensor_of({0}), at::randn({2, 3})), c10::Error);
  EXPECT_THROW(boundary_scores(at::randn({2, 4}), tensor_of({0, 1}), at::randn({2, 3})), c10::Error);
}

// ---- AdamW

TEST(AdamWSweep, EqualsLibTorchsFusedUpdate) {
  at::manual_seed(16);
  const Tensors parameters{at::randn({300, 257}), at::randn({3})}, gradients{at::randn({300, 257}), at::randn({3})};
  const auto copy = [](const Tensors& tensors) {
    Tensors copies;
    for (const auto& tensor : tensors) copies.push_back(tensor.clone());
    return copies;
  };
  auto ours = copy(parameters), theirs = copy(parameters);
  Tensors first{at::zeros({300, 257}), at::zeros({3})}, second = copy(first), their_first = copy(first),
                                                        their_second = copy(first),
                                                        updates{at::zeros({}), at::zeros({})};
  for (int64_t update = 1; update <= 4; ++update) {
    adamw(ours, gradients, first, second,
          {.rate = 0.01,
           .beta1 = 0.9,
           .beta2 = 0.95,
           .epsilon = 1e-8,
           .weight_decay = 0.1,
           .update = update,
           .gradient_scale = 0.5});
    auto scaled = copy(gradients);
    for (auto& gradient : scaled) gradient *= 0.5;
    for (auto& count : updates) count += 1;
    at::_fused_adamw_(theirs, scaled, their_first, their_second, {}, updates, 0.01, 0.9, 0.95, 0.1, 1e-8, false, false);
  }
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_LE(test::distance(ours[i], theirs[i]), 1e-6);
    EXPECT_LE(test::distance(first[i], their_first[i]), 1e-6);
    EXPECT_LE(test::distance(second[i], their_second[i]), 1e-6);
  }
}

TEST(AdamWSweep, SumOfSquaresIsTheSameOnAnyNumberOfThreads) {
  at::manual_seed(17);
  const Tensors tensors{at::randn({100'001}), at::randn({7, 5}), at::zeros({0})};
  const auto sum = [&](int threads) {
    const test::Threads set{threads};
    return sum_of_squares(tensors);
  };
  const double expected = tensors[0].to(at::kDouble).square().sum().item<double>() +
                          tensors[1].to(at::kDouble).square().sum().item<double>();
  EXPECT_NEAR(sum(1), expected, 1e-9 * expected);
  EXPECT_EQ(sum(1), sum(2));
  EXPECT_EQ(sum_of_squares({}), 0.0);
  EXPECT_FALSE(std::isfinite(sum_of_squares({at::tensor({1.0, std::nan("")})})));
}

TEST(AdamWSweep, WrongShapesThrow) {
  const AdamWStep step{0.1, 0.9, 0.95, 1e-8, 0.0, 1, 1.0};
  const auto x = at::ones({2, 3});
  EXPECT_THROW(adamw({x}, {at::ones({3, 2})}, {x}, {x}, step), c10::Error);
  EXPECT_THROW(adamw({x}, {}, {x}, {x}, step), c10::Error);
  EXPECT_THROW(adamw({x}, {x}, {at::ones({3, 2}).t()}, {x}, step), c10::Error);
}

// ---- Segment means

TEST(SegmentMean, EqualsReference) {
  at::manual_seed(5);
  for (const auto type : kTypes) {
    expect_equal(segment_means(tensor_of({0, 3, 4}), tensor_of({3, 4, 9})), {at::randn({9, 5}, type)});
    expect_equal(segment_means(tensor_of({1, 7}), tensor_of({4, 8})), {at::randn({9, 5}, type)});
    expect_equal(segment_means(tensor_of({0}), tensor_of({1})), {at::randn({1, 3}, type)});
    expect_equal(segment_means(tensor_of({}), tensor_of({})), {at::randn({4, 3}, type)});
    expect_equal(segment_means(tensor_of({}), tensor_of({})), {at::randn({0, 3}, type)});
    expect_equal(segment_means(tensor_of({0, 5}), tensor_of({2, 6})), {test::with_gaps(at::randn({6, 3}, type))});
    std::mt19937_64 random(5);
    std::vector<int64_t> begin, end;
    for (int64_t t = 0; t < 500;) {
      begin.push_back(t + static_cast<int64_t>(random() % 2));
      end.push_back(t = begin.back() + 1 + static_cast<int64_t>(random() % 9));
    }
    expect_equal(segment_means(tensor_of(begin), tensor_of(end)), {at::randn({520, 17}, type)});
  }
}

TEST(SegmentMean, GradientsAreFiniteDifferences) {
  test::expect_finite_differences(segment_means(tensor_of({0, 3, 5}), tensor_of({2, 5, 6})).fast,
                                  {at::randn({7, 3}, at::kDouble)});
}

TEST(SegmentMean, SameBitsOnOneThreadAndOnTwo) {
  const auto begin = at::arange(0, 600, 3, at::kLong);
  test::expect_independent_of_threads(segment_means(begin, begin + 3).fast, {at::randn({600, 19})});
}

TEST(SegmentMean, RowsOutsideEverySegmentGetNoGradient) {
  const auto result =
      test::value_and_gradients(segment_means(tensor_of({1}), tensor_of({3})).fast, {at::randn({5, 2})});
  for (const int64_t row : {0, 3, 4}) EXPECT_TRUE(at::equal(result.gradients[0][row], at::zeros({2}))) << row;
}

TEST(SegmentMean, SegmentsThatOverlapOrLeaveTheRowsThrow) {
  const auto h = at::randn({6, 2});
  for (const auto& [begin, end] : std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>>{
           {{0, 2}, {3, 4}}, {{3, 0}, {4, 2}}, {{2}, {2}}, {{3}, {2}}, {{4}, {7}}, {{-1}, {2}}, {{0, 1}, {1}}}) {
    EXPECT_THROW(segment_mean(h, tensor_of(begin), tensor_of(end)), c10::Error);
  }
  EXPECT_THROW(segment_mean(h, at::zeros({1}), at::ones({1})), c10::Error);
  EXPECT_THROW(segment_mean(h[0], tensor_of({0}), tensor_of({1})), c10::Error);
}

// ---- Moving average

TEST(MovingAverage, EqualsReference) {
  at::manual_seed(6);
  for (const auto type : kTypes) {
    for (const int64_t places : {1, 2, 50}) {
      for (const int64_t size : {1, 7, 32}) {
        expect_equal(moving_averages(at::randn({size}, type)),
                     {at::randn({places, size}, type), at::rand({places}, type)});
      }
    }
    expect_equal(moving_averages(at::randn({4}, type)),
                 {test::with_gaps(at::randn({6, 4}, type)), test::with_gaps(at::rand({6}, type))});
  }
}

TEST(MovingAverage, GradientsAreFiniteDifferences) {
  test::expect_finite_differences(moving_averages(at::randn({3}, at::kDouble)).fast,
                                  {at::randn({6, 3}, at::kDouble), at::rand({6}, at::kDouble)});
}

TEST(MovingAverage, GateOfOneStartsAfresh) {
  const auto z = at::randn({5, 3}, at::kDouble), p = at::tensor({1.0, 0.3, 1.0, 0.6, 0.2}, at::kDouble);
  const auto whole = moving_average(z, p, at::full({3}, 1e3, at::kDouble));
  const auto second = moving_average(z.narrow(0, 2, 3), p.narrow(0, 2, 3), at::zeros({3}, at::kDouble));
  EXPECT_TRUE(at::equal(whole.narrow(0, 2, 3), second));
  EXPECT_TRUE(at::equal(whole[0], z[0]));
}

TEST(MovingAverage, ContinuesFromTheInitialRow) {
  const auto z = at::randn({6, 3}, at::kDouble), p = at::rand({6}, at::kDouble), zero = at::zeros({3}, at::kDouble);
  const auto whole = moving_average(z, p, zero);
  const auto rest = moving_average(z.narrow(0, 4, 2), p.narrow(0, 4, 2), whole[3]);
  EXPECT_TRUE(at::equal(whole.narrow(0, 4, 2), rest));
}

TEST(MovingAverage, NoPlacesGiveNone) {
  EXPECT_EQ(moving_average(at::zeros({0, 3}), at::zeros({0}), at::zeros({3})).sizes(), (std::vector<int64_t>{0, 3}));
}

TEST(MovingAverage, WrongShapesThrow) {
  EXPECT_THROW(moving_average(at::zeros({2, 3}), at::zeros({3}), at::zeros({3})), c10::Error);
  EXPECT_THROW(moving_average(at::zeros({2, 3}), at::zeros({2}), at::zeros({2})), c10::Error);
  EXPECT_THROW(moving_average(at::zeros({3}), at::zeros({3}), at::zeros({3})), c10::Error);
}

}  // namespace
}  // namespace dlcm
