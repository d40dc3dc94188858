#include "dlcm/infer/sampler.h"

#include "dlcm/ops/uniform.h"
#include "dlcm/util/error.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <vector>

namespace dlcm {
namespace {

using Logits = std::vector<float>;

Logits logits_of(const std::vector<double>& probabilities) {
  Logits logits;
  for (const double probability : probabilities) logits.push_back(static_cast<float>(std::log(probability)));
  return logits;
}

// Ids that some draw of a fine grid gives, with their share of the draws.
std::map<int32_t, double> shares(const Logits& logits, const SamplingSettings& settings) {
  constexpr int kDraws = 10000;
  std::map<int32_t, double> counts;
  for (int i = 0; i < kDraws; ++i) counts[sample(logits, settings, (i + 0.5) / kDraws)] += 1.0 / kDraws;
  return counts;
}

std::set<int32_t> kept(const Logits& logits, const SamplingSettings& settings) {
  std::set<int32_t> ids;
  for (const auto& [id, share] : shares(logits, settings)) ids.insert(id);
  return ids;
}

const std::vector<double> kFour{0.1, 0.4, 0.2, 0.3};

TEST(Sampler, DrawsTheModelsProbabilitiesByDefault) {
  auto logits = logits_of(kFour);
  for (auto& logit : logits) logit += 17.0f;
  const auto found = shares(logits, {});
  ASSERT_EQ(found.size(), 4u);
  for (const auto& [id, share] : found) EXPECT_NEAR(share, kFour[static_cast<size_t>(id)], 1e-3);
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  const auto sharp = shares(logits_of(kFour), {.temperature = 0.5});
  const double sum = 0.01 + 0.16 + 0.04 + 0.09;
  EXPECT_NEAR(sharp.at(1), 0.16 / sum, 1e-3);
  EXPECT_NEAR(sharp.at(0), 0.01 / sum, 1e-3);
  const auto flat = shares(logits_of(kFour), {.temperature = 1e6});
  for (const auto& [id, share] : flat) EXPECT_NEAR(share, 0.25, 1e-3);
}

TEST(Sampler, TemperatureZeroTakesTheFirstOfTheMostLikely) {
  for (const double uniform : {0.0, 0.5, 0.999999}) {
    EXPECT_EQ(sample(logits_of({0.1, 0.35, 0.2, 0.35}), {.temperature = 0.0}, uniform), 1);
  }
}

TEST(Sampler, TinyTemperatureIsGreedy) {
  EXPECT_EQ(kept(logits_of(kFour), {.temperature = 1e-300}), (std::set<int32_t>{1}));
}

TEST(Sampler, TopKKeepsTheKMostLikely) {
  EXPECT_EQ(kept(logits_of(kFour), {.top_k = 1}), (std::set<int32_t>{1}));
  EXPECT_EQ(kept(logits_of(kFour), {.top_k = 3}), (std::set<int32_t>{1, 2, 3}));
  const auto found = shares(logits_of(kFour), {.top_k = 2});
  EXPECT_NEAR(found.at(1), 4.0 / 7.0, 1e-3);
}

TEST(Sampler, TopKBeyondTheVocabularyKeepsAll) {
  EXPECT_EQ(kept(logits_of(kFour), {.top_k = 4}).size(), 4u);
  EXPECT_EQ(kept(logits_of(kFour), {.top_k = 1000}).size(), 4u);
}

TEST(Sampler, TopKTakesLowerIdsOfATie) {
  EXPECT_EQ(kept(logits_of({0.2, 0.2, 0.2, 0.2, 0.2}), {.top_k = 2}), (std::set<int32_t>{0, 1}));
  EXPECT_EQ(kept(logits_of({0.1, 0.3, 0.3, 0.3}), {.top_k = 2}), (std::set<int32_t>{1, 2}));
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  EXPECT_EQ(kept(logits_of(kFour), {.top_p = 0.39}), (std::set<int32_t>{1}));
  EXPECT_EQ(kept(logits_of(kFour), {.top_p = 0.41}), (std::set<int32_t>{1, 3}));
  EXPECT_EQ(kept(logits_of(kFour), {.top_p = 0.85}), (std::set<int32_t>{1, 2, 3}));
  EXPECT_EQ(kept(logits_of(kFour), {.top_p = 1e-9}), (std::set<int32_t>{1}));
}

TEST(Sampler, TopPTakesLowerIdsOfATie) {
  EXPECT_EQ(kept(logits_of({0.25, 0.25, 0.25, 0.25}), {.top_p = 0.5}), (std::set<int32_t>{0, 1}));
}

TEST(Sampler, TopPOfOneKeepsEveryToken) {
  const Logits logits{0.0f, 0.0f, 0.0f, -7.0f};
  EXPECT_EQ(kept(logits, {.top_p = 1.0}), (std::set<int32_t>{0, 1, 2, 3}));
}

TEST(Sampler, MinPIsRelativeToTheMostLikely) {
  EXPECT_EQ(kept(logits_of(kFour), {.min_p = 0.6}), (std::set<int32_t>{1, 3}));
  EXPECT_EQ(kept(logits_of(kFour), {.min_p = 0.2}), (std::set<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(kept(logits_of({0.3, 0.4, 0.3}), {.min_p = 1.0}), (std::set<int32_t>{1}));
}

TEST(Sampler, FiltersWorkOnTheTemperedDistribution) {
  // At temperature 0.5 token 3 is (0.3 / 0.4)^2 = 0.5625 times as likely as token 1.
  EXPECT_EQ(kept(logits_of(kFour), {.temperature = 0.5, .min_p = 0.6}), (std::set<int32_t>{1}));
  EXPECT_EQ(kept(logits_of(kFour), {.temperature = 0.5, .top_p = 0.5}), (std::set<int32_t>{1}));
}

TEST(Sampler, TopPIsOverWhatTopKKept) {
  // Of 0.4 and 0.3 the first has 57 %.
  EXPECT_EQ(kept(logits_of(kFour), {.top_k = 2, .top_p = 0.5}), (std::set<int32_t>{1}));
  EXPECT_EQ(kept(logits_of(kFour), {.top_k = 2, .top_p = 0.6}), (std::set<int32_t>{1, 3}));
}

TEST(Sampler, AllFiltersTogether) {
  const SamplingSettings settings{.top_k = 3, .top_p = 0.95, .min_p = 0.6};
  const auto found = shares(logits_of(kFour), settings);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_NEAR(found.at(1), 4.0 / 7.0, 1e-3);
  EXPECT_NEAR(found.at(3), 3.0 / 7.0, 1e-3);
}

TEST(Sampler, FilterThatDropsNothingChangesNoDraw) {
  Logits logits;
  for (int i = 0; i < 40; ++i) logits.push_back(std::cos(-2.0f + static_cast<float>(i) / 8.0f));
  for (int i = 0; i < 200; ++i) {
    const double uniform = uniform_draw(3, DrawUse::sampling, 0, static_cast<uint64_t>(i));
    const auto id = sample(logits, {}, uniform);
    EXPECT_EQ(sample(logits, {.top_k = 40}, uniform), id);
    EXPECT_EQ(sample(logits, {.top_p = 1.0 - 1e-12}, uniform), id);
    EXPECT_EQ(sample(logits, {.min_p = 1e-12}, uniform), id);
  }
}

TEST(Sampler, ImpossibleTokensAreNeverDrawn) {
  const float infinity = std::numeric_limits<float>::infinity();
  const Logits logits{-infinity, 0.0f, -infinity, 0.0f, -infinity};
  EXPECT_EQ(kept(logits, {}), (std::set<int32_t>{1, 3}));
  EXPECT_EQ(sample(logits, {}, 0.0), 1);
  EXPECT_EQ(sample(logits, {}, std::nextafter(1.0, 0.0)), 3);
}

TEST(Sampler, LogitsOfOneToken) { EXPECT_EQ(sample(Logits{-3.0f}, {.top_k = 5, .top_p = 0.1}, 0.7), 0); }

TEST(Sampler, ManyDrawsFollowTheDistribution) {
  constexpr int kDraws = 20000;
  const std::vector<double> probabilities{0.02, 0.3, 0.08, 0.25, 0.05, 0.2, 0.1};
  std::vector<double> counts(probabilities.size());
  for (int i = 0; i < kDraws; ++i) {
    ++counts[static_cast<size_t>(
        sample(logits_of(probabilities), {}, uniform_draw(11, DrawUse::sampling, 0, static_cast<uint64_t>(i))))];
  }
  double chi_square = 0.0;
  for (size_t id = 0; id < counts.size(); ++id) {
    const double expected = kDraws * probabilities[id];
    chi_square += (counts[id] - expected) * (counts[id] - expected) / expected;
  }
  EXPECT_LT(chi_square, 22.46);  // 6 degrees of freedom, 99.9 %
}

TEST(Sampler, LogitsThatAreNoNumbersAreRefused) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  EXPECT_THROW(sample(Logits{0.0f, nan}, {}, 0.5), RuntimeFailure);
  EXPECT_THROW(sample(Logits{nan, 0.0f}, {.temperature = 0.0}, 0.5), RuntimeFailure);
  EXPECT_THROW(sample(Logits{0.0f, infinity}, {}, 0.5), RuntimeFailure);
  EXPECT_THROW(sample(Logits{-infinity, -infinity}, {}, 0.5), RuntimeFailure);
}

TEST(Sampler, SettingsOutOfRangeAreRefused) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  for (const double temperature : {-0.1, nan, infinity}) {
    EXPECT_THROW(check_sampling({.temperature = temperature}), Error) << temperature;
  }
  EXPECT_THROW(check_sampling({.top_k = -1}), Error);
  for (const double top_p : {0.0, -0.5, 1.0001, nan}) EXPECT_THROW(check_sampling({.top_p = top_p}), Error) << top_p;
  for (const double min_p : {-0.1, 1.1, nan}) EXPECT_THROW(check_sampling({.min_p = min_p}), Error) << min_p;
  // The edges of what is allowed: a most likely token comes of each.
  const std::vector<float> logits_V{0.5f, 2.0f, 1.0f};
  for (const auto& edge : {SamplingSettings{.temperature = 0.0, .top_k = 1 << 30, .top_p = 1.0, .min_p = 1.0},
                           SamplingSettings{.top_k = 1}, SamplingSettings{.min_p = 1.0}}) {
    check_sampling(edge);
    EXPECT_EQ(sample(logits_V, edge, 0.99), 1);
  }
}

}  // namespace
}  // namespace dlcm
