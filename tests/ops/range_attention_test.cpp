// Range attention against its dense reference, against finite differences, and at its edges.
#include "dlcm/ops/range_attention.h"

#include "tests/support/gradients.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace dlcm {
namespace {

using test::Tensors;

struct Ranges {
  at::Tensor begin_T, end_T;
  int64_t keys = 0;
};

at::Tensor tensor_of(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); }

// Causal attention in documents of these lengths.
Ranges packed(const std::vector<int64_t>& lengths) {
  std::vector<int64_t> begin, end;
  int64_t first = 0;
  for (const int64_t length : lengths) {
    for (int64_t t = 0; t < length; ++t) {
      begin.push_back(first);
      end.push_back(first + t + 1);
    }
    first += length;
  }
  return {tensor_of(begin), tensor_of(end), first};
}

// Tokens of documents of these lengths that see the places opened so far, one about every `ratio` tokens.
Ranges concepts(const std::vector<int64_t>& lengths, int64_t ratio, std::mt19937_64& random) {
  std::vector<int64_t> begin, end;
  int64_t places = 0;
  for (const int64_t length : lengths) {
    const int64_t first = places;
    for (int64_t t = 0; t < length; ++t) {
      if (t == 0 || static_cast<int64_t>(random() % static_cast<uint64_t>(ratio)) == 0) ++places;
      begin.push_back(first);
      end.push_back(places);
    }
  }
  return {tensor_of(begin), tensor_of(end), places};
}

// Any non-decreasing ranges; many are empty, some end before they begin.
Ranges arbitrary(int64_t queries, int64_t keys, std::mt19937_64& random) {
  const auto sorted = [&] {
    std::vector<int64_t> values;
    for (int64_t t = 0; t < queries; ++t) values.push_back(static_cast<int64_t>(random() % (keys + 1)));
    std::sort(values.begin(), values.end());
    return tensor_of(values);
  };
  return {sorted(), sorted(), keys};
}

struct Heads {
  int64_t heads, kv_heads, size;
};

enum class Bias { none, keys, last_key, both };

// The op as a function of q, k and v.
class Problem {
 public:
  Problem(Ranges ranges, Heads heads, Bias bias, at::ScalarType type, uint64_t seed = 7) : ranges_(std::move(ranges)) {
    at::manual_seed(seed);
    const auto options = at::TensorOptions(type);
    const int64_t queries = ranges_.begin_T.size(0);
    inputs_ = {at::randn({queries, heads.heads, heads.size}, options),
               at::randn({ranges_.keys, heads.kv_heads, heads.size}, options),
               at::randn({ranges_.keys, heads.kv_heads, heads.size}, options)};
    if (bias == Bias::keys || bias == Bias::both) key_bias_ = at::randn({ranges_.keys}, options);
    if (bias == Bias::last_key || bias == Bias::both) last_key_bias_ = at::randn({queries}, options);
  }

  RangeAttentionInput input(const Tensors& qkv) const {
    return {.q_TNH = qkv[0],
            .k_SGH = qkv[1],
            .v_SGH = qkv[2],
            .begin_T = ranges_.begin_T,
            .end_T = ranges_.end_T,
            .key_bias_S = key_bias_,
            .last_key_bias_T = last_key_bias_};
  }
  test::Function fast() const {
    return [*this](const Tensors& qkv) { return range_attention(input(qkv)); };
  }
  test::Function reference() const {
    return [*this](const Tensors& qkv) { return range_attention_reference(input(qkv)); };
  }
  const Tensors& inputs() const { return inputs_; }
  RangeAttentionInput input() const { return input(inputs_); }

 private:
  Ranges ranges_;
  at::Tensor key_bias_, last_key_bias_;
  Tensors inputs_;
};

constexpr Heads kHeads[] = {{1, 1, 4}, {4, 4, 6}, {6, 2, 8}, {4, 1, 3}};
constexpr Bias kBiases[] = {Bias::none, Bias::keys, Bias::last_key, Bias::both};

TEST(RangeAttention, EqualsReferenceForEveryKindOfRanges) {
  const test::Threads one(1);  // steady where the machine is busy
  std::mt19937_64 random(1);
  for (const auto type : {at::kFloat, at::kDouble}) {
    for (const auto& heads : kHeads) {
      for (const auto bias : kBiases) {
        SCOPED_TRACE(testing::Message() << type << ", " << heads.heads << " heads, bias " << static_cast<int>(bias));
        for (const auto& ranges : {packed({5, 1, 150, 70, 2}), concepts({90, 1, 47, 130}, 4, random),
                                   arbitrary(170, 40, random), arbitrary(3, 300, random)}) {
          const Problem problem(ranges, heads, bias, type);
          test::expect_equal_to_reference(problem.fast(), problem.reference(), problem.inputs());
        }
      }
    }
  }
}

// Head sizes on both sides of whole vectors, and ranges over several tiles of keys and blocks of queries.
TEST(RangeAttention, EqualsReferenceOverManyTiles) {
  const test::Threads one(1);  // steady where the machine is busy
  std::mt19937_64 random(6);
  for (const int64_t size : {16, 20, 32, 64, 80, 128}) {
    for (const auto type : {at::kFloat, at::kDouble}) {
      SCOPED_TRACE(testing::Message() << type << ", head size " << size);
      for (const auto& ranges : {packed({333, 100}), concepts({700, 1, 95}, 2, random), arbitrary(250, 700, random)}) {
        const Problem problem(ranges, {2, 1, size}, Bias::both, type);
        test::expect_equal_to_reference(problem.fast(), problem.reference(), problem.inputs());
      }
    }
  }
}

TEST(RangeAttention, EqualsReferenceForRandomShapes) {
  const test::Threads one(1);  // steady where the machine is busy
  std::mt19937_64 random(2);
  const auto below = [&](uint64_t limit) { return static_cast<int64_t>(random() % limit); };
  for (int trial = 0; trial < 60; ++trial) {
    const int64_t kv_heads = 1 + below(3);
    const Heads heads{kv_heads * (1 + below(3)), kv_heads, 1 + below(9)};
    const Problem problem(arbitrary(below(200), 1 + below(150), random), heads, kBiases[below(4)], at::kDouble, trial);
    test::expect_equal_to_reference(problem.fast(), problem.reference(), problem.inputs());
  }
}

TEST(RangeAttention, GradientsAreFiniteDifferences) {
  std::mt19937_64 random(3);
  for (const auto bias : kBiases) {
    for (const auto& ranges : {packed({3, 1, 5}), concepts({7, 4}, 3, random), arbitrary(9, 6, random)}) {
      const Problem problem(ranges, {4, 2, 3}, bias, at::kDouble);
      test::expect_finite_differences(problem.fast(), problem.inputs());
    }
  }
}

TEST(RangeAttention, SameBitsOnOneThreadAndOnTwo) {
  std::mt19937_64 random(4);
  for (const auto& ranges : {packed({300, 1, 200, 40}), packed({30}), concepts({200, 300}, 4, random)}) {
    const Problem problem(ranges, {4, 2, 16}, Bias::both, at::kFloat);
    test::expect_independent_of_threads(problem.fast(), problem.inputs());
  }
}

TEST(RangeAttention, EmptyRangesGiveZeros) {
  for (const auto bias : kBiases) {
    const Ranges ranges{tensor_of({0, 0, 3, 5}), tensor_of({0, 2, 2, 5}), 5};
    const Problem problem(ranges, {2, 1, 4}, bias, at::kFloat);
    const auto result = test::value_and_gradients(problem.fast(), problem.inputs());
    for (const int64_t empty : {0, 2, 3}) {
      EXPECT_TRUE(at::equal(result.value[empty], at::zeros({2, 4}))) << empty;
      EXPECT_TRUE(at::equal(result.gradients[0][empty], at::zeros({2, 4}))) << empty;
    }
    EXPECT_GT(result.value[1].abs().max().item<float>(), 0.0F);
    EXPECT_TRUE(at::equal(result.gradients[2].narrow(0, 2, 3), at::zeros({3, 1, 4})));
  }
}

TEST(RangeAttention, NothingAtAllIsAllowed) {
  for (const auto& ranges : {Ranges{tensor_of({}), tensor_of({}), 0}, Ranges{tensor_of({}), tensor_of({}), 3},
                             Ranges{tensor_of({0, 0}), tensor_of({0, 0}), 0}}) {
    const Problem problem(ranges, {2, 1, 4}, Bias::both, at::kDouble);
    test::expect_equal_to_reference(problem.fast(), problem.reference(), problem.inputs());
  }
}

TEST(RangeAttention, OneTokenReadsItsOwnValue) {
  const Problem problem(packed({1}), {3, 1, 4}, Bias::both, at::kDouble);
  const auto out = range_attention(problem.input());
  EXPECT_LE(test::distance(out, problem.inputs()[2].expand({1, 3, 4})), 1e-15);
}

TEST(RangeAttention, LastKeyBiasReplacesTheKeyBias) {
  Problem problem(packed({4, 3}), {2, 2, 4}, Bias::none, at::kDouble);
  auto input = problem.input();
  input.key_bias_S = at::randn({7}, at::kDouble);
  input.last_key_bias_T = input.key_bias_S.clone();  // in causal attention a query's last key is itself
  const auto replaced = range_attention(input);
  input.last_key_bias_T.reset();
  EXPECT_LE(test::distance(replaced, range_attention(input)), 1e-14);
}

TEST(RangeAttention, KeysOutsideTheRangeDoNotMatter) {
  const Problem problem(Ranges{tensor_of({2, 3}), tensor_of({4, 6}), 8}, {2, 1, 4}, Bias::keys, at::kDouble);
  const auto before = range_attention(problem.input());
  auto changed = problem.inputs();
  for (int i : {1, 2}) {
    changed[i] = changed[i].clone();
    changed[i][0].fill_(1e6);
    changed[i][7].fill_(-1e6);
  }
  EXPECT_TRUE(at::equal(before, range_attention(problem.input(changed))));
  changed[2][4].fill_(1e6);  // seen by the second query alone
  const auto after = range_attention(problem.input(changed));
  EXPECT_TRUE(at::equal(before[0], after[0]));
  EXPECT_FALSE(at::equal(before[1], after[1]));
}

TEST(RangeAttention, HugeScoresStayFinite) {
  const Problem problem(packed({70, 3}), {2, 1, 4}, Bias::none, at::kFloat);
  auto inputs = problem.inputs();
  inputs[0] = inputs[0] * 1e4;
  inputs[1] = inputs[1] * 1e4;
  const auto result = test::value_and_gradients(problem.fast(), inputs);
  EXPECT_TRUE(result.value.isfinite().all().item<bool>());
  for (const auto& gradient : result.gradients) EXPECT_TRUE(gradient.isfinite().all().item<bool>());
}

TEST(RangeAttention, InputsMayBeSpreadOverMemory) {
  const Problem problem(packed({80, 9}), {4, 2, 6}, Bias::both, at::kDouble);
  Tensors spread;
  for (const auto& input : problem.inputs()) spread.push_back(test::with_gaps(input));
  ASSERT_FALSE(spread[0].is_contiguous());
  test::expect_equal_to_reference(problem.fast(), problem.reference(), spread);
  auto biased = problem.input(spread);
  biased.key_bias_S = test::with_gaps(biased.key_bias_S);
  biased.last_key_bias_T = test::with_gaps(biased.last_key_bias_T);
  EXPECT_TRUE(at::equal(range_attention(problem.input()), range_attention(biased)));
}

TEST(RangeAttention, GradientMayBeExpanded) {
  const Problem problem(packed({5}), {2, 1, 4}, Bias::none, at::kDouble);
  const auto summed = [](const test::Function& function) -> test::Function {
    return [function](const Tensors& qkv) { return function(qkv).sum(); };
  };
  test::expect_equal_to_reference(summed(problem.fast()), summed(problem.reference()), problem.inputs());
}

TEST(RangeAttention, RangesThatDecreaseThrow) {
  for (const auto& [begin, end] : std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>>{
           {{0, 1, 0}, {1, 2, 3}}, {{0, 0, 0}, {1, 3, 2}}}) {
    const Problem problem(Ranges{tensor_of(begin), tensor_of(end), 3}, {1, 1, 2}, Bias::none, at::kFloat);
    EXPECT_THROW(range_attention(problem.input()), c10::Error);
    EXPECT_THROW(range_attention_reference(problem.input()), c10::Error);
  }
}

TEST(RangeAttention, RangesThatLeaveTheKeysThrow) {
  for (const auto& [begin, end] : std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>>{
           {{-1}, {2}}, {{0}, {4}}, {{4}, {3}}, {{0}, {-1}}}) {
    const Problem problem(Ranges{tensor_of(begin), tensor_of(end), 3}, {1, 1, 2}, Bias::none, at::kFloat);
    EXPECT_THROW(range_attention(problem.input()), c10::Error);
    EXPECT_THROW(range_attention_reference(problem.input()), c10::Error);
  }
}

TEST(RangeAttention, WrongShapesAndTypesThrow) {
  const Problem problem(packed({4}), {4, 2, 6}, Bias::both, at::kFloat);
  const auto throws = [&](const std::function<void(RangeAttentionInput&)>& spoil) {
    auto input = problem.input();
    spoil(input);
    EXPECT_THROW(range_attention(input), c10::Error);
  };
  throws([](auto& input) { input.q_TNH = input.q_TNH[0]; });
  throws([](auto& input) { input.q_TNH = input.q_TNH.narrow(1, 0, 3); });
  throws([](auto& input) { input.q_TNH = input.q_TNH.narrow(2, 0, 4); });
  throws([](auto& input) { input.q_TNH = input.q_TNH.to(at::kDouble); });
  throws([](auto& input) { input.v_SGH = input.v_SGH.narrow(0, 0, 3); });
  throws([](auto& input) { input.begin_T = input.begin_T.to(at::kInt); });
  throws([](auto& input) { input.end_T = input.end_T.narrow(0, 0, 3); });
  throws([](auto& input) { input.key_bias_S = input.key_bias_S.narrow(0, 0, 3); });
  throws([](auto& input) { input.last_key_bias_T = input.last_key_bias_T.unsqueeze(0); });
}

}  // namespace
}  // namespace dlcm
