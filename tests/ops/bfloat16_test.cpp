// Products in bfloat16 on every unit that this CPU has, and range attention on them.
#include "dlcm/ops/bfloat16_tiles.h"
#include "dlcm/ops/range_attention.h"
#include "tests/support/gradients.h"

#include <gtest/gtest.h>

#include <random>

namespace dlcm {
namespace {

std::vector<BFloat16Unit> units() {
  if (bfloat16_unit() == BFloat16Unit::amx) return {BFloat16Unit::avx512, BFloat16Unit::amx};
  if (bfloat16_unit() == BFloat16Unit::avx512) return {BFloat16Unit::avx512};
  return {};
}

constexpr const char* kNoUnit = "this CPU has neither AMX nor AVX512-BF16";

at::Tensor rounded(const at::Tensor& x) { return x.to(at::kBFloat16).to(x.scalar_type()); }

// A factor B in pairs along its depth.
std::vector<uint16_t> pairs_of(const at::Tensor& b_KN) {
  const int64_t depth = b_KN.size(0), columns = b_KN.size(1);
  std::vector<uint16_t> pairs(static_cast<size_t>(depth * columns));
  const auto* rows = b_KN.const_data_ptr<float>();
  for (int64_t k = 0; k < depth; k += 2) {
    round_pair(rows + k * columns, rows + (k + 1) * columns, columns, pairs.data() + k * kBFloat16Tile,
               depth * kBFloat16Tile);
  }
  return pairs;
}

TEST(BFloat16Product, EqualsTheProductOfTheRoundedFactors) {
  if (units().empty()) GTEST_SKIP() << kNoUnit;
  at::manual_seed(3);
  for (const auto unit : units()) {
    for (const int64_t rows : {16, 32, 48, 128}) {
      for (const int64_t columns : {32, 64, 96}) {
        for (const int64_t depth : {32, 96}) {
          const auto a = at::randn({rows, depth}), b = at::randn({depth, columns}), c = at::randn({rows, columns});
          std::vector<uint16_t> a_rows(static_cast<size_t>(rows * depth));
          round_row(a.const_data_ptr<float>(), rows * depth, a_rows.data());
          const auto b_pairs = pairs_of(b);
          const auto product = at::mm(rounded(a).to(at::kDouble), rounded(b).to(at::kDouble));
          for (const bool accumulate : {false, true}) {
            // Odd numbers of tiles: columns cut to 16 less.
            for (const int64_t used : {columns, columns - 16}) {
              auto result = c.clone();
              {
                const BFloat16Multiplier multiply(unit);
                multiply({rows, used, depth, a_rows.data(), depth, b_pairs.data(), depth * kBFloat16Tile,
                          result.mutable_data_ptr<float>(), columns, accumulate});
              }
              const auto expected = accumulate ? product + c : product;
              EXPECT_LE(test::distance(result.narrow(1, 0, used), expected.narrow(1, 0, used)), 1e-5)
                  << rows << " x " << used << " x " << depth;
              EXPECT_TRUE(at::equal(result.narrow(1, used, columns - used), c.narrow(1, used, columns - used)));
            }
          }
        }
      }
    }
  }
}

TEST(BFloat16Product, RoundsToTheNearestEven) {
  if (units().empty()) GTEST_SKIP() << kNoUnit;
  const auto values = at::randn({64}) * at::pow(10.0, at::randn({64}) * 4);
  std::vector<uint16_t> row(64);
  round_row(values.const_data_ptr<float>(), 64, row.data());
  const auto expected = values.to(at::kBFloat16);
  EXPECT_EQ(std::memcmp(row.data(), expected.const_data_ptr(), 128), 0);
}

// ---- Range attention

RangeAttentionInput input_of(int64_t heads, int64_t kv_heads, int64_t size, int64_t keys, const at::Tensor& begin,
                             const at::Tensor& end) {
  const int64_t queries = begin.size(0);
  return {.q_TNH = rounded(at::randn({queries, heads, size})),
          .k_SGH = rounded(at::randn({keys, kv_heads, size})),
          .v_SGH = rounded(at::randn({keys, kv_heads, size})),
          .begin_T = begin,
          .end_T = end,
          .key_bias_S = {},
          .last_key_bias_T = {}};
}

test::Function attention(const RangeAttentionInput& input, bool fast) {
  return [=](const test::Tensors& x) {
    auto given = input;
    given.q_TNH = x[0];
    given.k_SGH = x[1];
    given.v_SGH = x[2];
    return fast ? range_attention(given, ProductPrecision::bfloat16) : range_attention_reference(given);
  };
}

// Ranges of random widths and jumps; some empty, some sharing no key with those before.
std::pair<at::Tensor, at::Tensor> random_ranges(int64_t queries, int64_t keys, std::mt19937_64& random) {
  auto begin = at::zeros({queries}, at::kLong), end = at::zeros({queries}, at::kLong);
  auto *first = begin.mutable_data_ptr<int64_t>(), *last = end.mutable_data_ptr<int64_t>();
  int64_t from = 0, to = 0;
  const auto step = static_cast<uint64_t>(2 * keys / queries + 2);
  for (int64_t t = 0; t < queries; ++t) {
    to = std::min(keys, to + static_cast<int64_t>(random() % step));
    if (random() % 40 == 0) from = to;
    if (random() % 3 == 0) from = std::min(to, from + static_cast<int64_t>(random() % step));
    first[t] = from;
    last[t] = to;
  }
  return {begin, end};
}

// Weights and score gradients are rounded to 8 bits before they are summed.
void expect_near_reference(const RangeAttentionInput& input) {
  const test::Tensors tensors{input.q_TNH, input.k_SGH, input.v_SGH};
  const auto actual = test::value_and_gradients(attention(input, true), tensors);
  const auto expected = test::value_and_gradients(attention(input, false), tensors);
  EXPECT_LE(test::distance(actual.value, expected.value), 1e-2);
  for (size_t i = 0; i < 3; ++i) EXPECT_LE(test::distance(actual.gradients[i], expected.gradients[i]), 2e-2) << i;
  // On average far less.
  const auto error = [](const at::Tensor& a, const at::Tensor& b) {
    return ((a - b).norm() / b.norm().clamp_min(1e-6)).item<double>();
  };
  EXPECT_LE(error(actual.value, expected.value), 5e-3);
  for (size_t i = 0; i < 3; ++i) EXPECT_LE(error(actual.gradients[i], expected.gradients[i]), 8e-3) << i;
}

TEST(RangeAttentionBFloat16, IsNearTheReferenceOnRandomRanges) {
  if (units().empty()) GTEST_SKIP() << kNoUnit;
  at::manual_seed(6);
  std::mt19937_64 random(6);
  for (const auto& [queries, keys] : {std::pair<int64_t, int64_t>{5, 3}, {40, 40}, {130, 33}, {300, 700}, {513, 120}}) {
    for (const auto& [heads, kv_heads, size] : {std::array<int64_t, 3>{2, 1, 32}, {3, 3, 8}, {4, 2, 64}, {1, 1, 40}}) {
      SCOPED_TRACE(testing::Message() << queries << " queries, " << keys << " keys, heads of " << size);
      const auto [begin, end] = random_ranges(queries, keys, random);
      auto input = input_of(heads, kv_heads, size, keys, begin, end);
      expect_near_reference(input);
      input.key_bias_S = at::rand({keys}).log();
      input.last_key_bias_T = at::rand({queries}).log();
      expect_near_reference(input);
    }
  }
}

TEST(RangeAttentionBFloat16, IsNearTheReferenceOnPackedCausalDocuments) {
  if (units().empty()) GTEST_SKIP() << kNoUnit;
  at::manual_seed(7);
  auto begin = at::zeros({400}, at::kLong);
  begin.narrow(0, 1, 399).fill_(1);
  begin.narrow(0, 260, 140).fill_(260);
  expect_near_reference(input_of(2, 1, 32, 400, begin, at::arange(1, 401, at::kLong)));
}

TEST(RangeAttentionBFloat16, EmptyRangesGiveZerosBesideRangesThatAreNot) {
  if (units().empty()) GTEST_SKIP() << kNoUnit;
  at::manual_seed(8);
  // Thirty queries see keys 0 to 10, then a group of 32 and more see nothing, the rest keys 10 to 20: within one tile.
  auto begin = at::zeros({120}, at::kLong), end = at::full({120}, 10, at::kLong);
  begin.narrow(0, 30, 90).fill_(10);
  end.narrow(0, 70, 50).fill_(20);
  const auto input = input_of(2, 2, 32, 20, begin, end);
  expect_near_reference(input);
  const auto out = range_attention(input, ProductPrecision::bfloat16);
  EXPECT_TRUE(at::equal(out.narrow(0, 30, 40), at::zeros({40, 2, 32})));
}

TEST(RangeAttentionBFloat16, ForgetsWhatACallBeforeLeft) {
  if (units().empty()) GTEST_SKIP() << kNoUnit;
  at::manual_seed(13);
  const test::Threads one{1};
  const auto causal = [](int64_t queries) {
    return input_of(1, 1, 32, 64, at::zeros({queries}, at::kLong), at::arange(1, queries + 1, at::kLong));
  };
  const auto before = causal(64);
  test::value_and_gradients(attention(before, true), {before.q_TNH * NAN, before.k_SGH, before.v_SGH});
  expect_near_reference(causal(40));
}

TEST(RangeAttentionBFloat16, ReadsNoKeyOutsideTheRanges) {
  if (units().empty()) GTEST_SKIP() << kNoUnit;
  at::manual_seed(9);
  const auto input = input_of(1, 1, 32, 100, at::full({50}, 20, at::kLong), at::full({50}, 60, at::kLong));
  auto other = input;
  for (auto* tensor : {&other.k_SGH, &other.v_SGH}) {
    *tensor = tensor->clone();
    tensor->narrow(0, 0, 20).fill_(3e38);
    tensor->narrow(0, 60, 40).fill_(3e38);
  }
  EXPECT_TRUE(at::equal(range_attention(input, ProductPrecision::bfloat16),
                        range_attention(other, ProductPrecision::bfloat16)));
}

TEST(RangeAttentionBFloat16, SameBitsOnOneThreadAndOnTwo) {
  if (units().empty()) GTEST_SKIP() << kNoUnit;
  at::manual_seed(10);
  std::mt19937_64 random(10);
  const auto [begin, end] = random_ranges(600, 200, random);
  const auto input = input_of(4, 2, 32, 200, begin, end);
  test::expect_independent_of_threads(attention(input, true), {input.q_TNH, input.k_SGH, input.v_SGH});
}

TEST(RangeAttentionBFloat16, DoubleStaysDouble) {
  at::manual_seed(11);
  auto input = input_of(1, 1, 8, 9, at::zeros({9}, at::kLong), at::arange(1, 10, at::kLong));
  for (auto* tensor : {&input.q_TNH, &input.k_SGH, &input.v_SGH}) *tensor = at::randn(tensor->sizes(), at::kDouble);
  EXPECT_LE(test::distance(range_attention(input, ProductPrecision::bfloat16), range_attention_reference(input)),
            1e-13);
}

}  // namespace
}  // namespace dlcm
