#include "dlcm/infer/continuations.h"

#include "dlcm/infer/score.h"
#include "tests/infer/tiny_model.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace dlcm {
namespace {

using Ids = std::vector<int32_t>;

Continuation continuation(Ids given, const Ids& scored) {
  const size_t count = given.size();
  given.insert(given.end(), scored.begin(), scored.end());
  return {.ids = std::move(given), .given = count};
}

// Each sequence alone, in one step.
std::vector<ContinuationScore> one_by_one(const test::TinyModel& model, const std::vector<Continuation>& continuations,
                                          double threshold) {
  std::vector<ContinuationScore> scores;
  for (const auto& [ids, given] : continuations) {
    const auto document = score_ids(model, {ids}, threshold).front();
    auto& sum = scores.emplace_back();
    for (size_t t = given; t < ids.size(); ++t) {
      sum.logprob += document.logprobs[t];
      sum.greedy &= document.greedy[t];
    }
  }
  return scores;
}

void expect_equal(const std::vector<ContinuationScore>& left, const std::vector<ContinuationScore>& right) {
  ASSERT_EQ(left.size(), right.size());
  for (size_t i = 0; i < left.size(); ++i) {
    EXPECT_EQ(left[i].logprob, right[i].logprob) << i;
    EXPECT_EQ(left[i].greedy, right[i].greedy) << i;
  }
}

// Sequences of up to 60 ids that share beginnings of all lengths, some of them equal.
std::vector<Continuation> random_continuations(std::mt19937& random, size_t count) {
  const auto draw = [&](int32_t below) { return static_cast<int32_t>(random() % static_cast<uint32_t>(below)); };
  std::vector<Continuation> continuations;
  for (size_t i = 0; i < count; ++i) {
    Ids ids{257};
    if (i > 0 && draw(4) > 0) {  // begin as an earlier one
      const auto& earlier = continuations[static_cast<size_t>(draw(static_cast<int32_t>(i)))].ids;
      ids.assign(earlier.begin(), earlier.begin() + 1 + draw(static_cast<int32_t>(earlier.size())));
    }
    const size_t length = std::min<size_t>(60, ids.size() + static_cast<size_t>(draw(20)));
    while (ids.size() < std::max<size_t>(2, length)) ids.push_back(draw(256));
    const auto given = 1 + static_cast<size_t>(draw(static_cast<int32_t>(ids.size()) - 1));
    continuations.push_back({.ids = std::move(ids), .given = given});
  }
  return continuations;
}

TEST(Continuations, EqualEachSequenceAloneBitForBit) {
  std::mt19937 random(7);
  for (const auto rule : test::kBoundaryRules) {
    for (const auto reading : {CrossAttentionReading::plain, CrossAttentionReading::replicated}) {
      auto config = test::tiny_config(ModelKind::dlcm);
      config.parser.rule = rule;
      config.model.cross_attention = reading;
      config.smoothing.kind = SmoothingKind::moving_average;
      const auto model = test::tiny_model(config);
      const auto continuations = random_continuations(random, 60);
      const auto expected = one_by_one(model, continuations, 0.5);
      for (const int64_t batch_tokens : {int64_t{1}, int64_t{200}, int64_t{16384}}) {
        expect_equal(score_continuations(model, continuations, {.threshold = 0.5, .batch_tokens = batch_tokens}),
                     expected);
      }
    }
  }
}

TEST(Continuations, OfALlamaEqualEachSequenceAloneBitForBit) {
  std::mt19937 random(8);
  const auto model = test::tiny_model(test::tiny_config(ModelKind::llama));
  const auto continuations = random_continuations(random, 200);
  const auto expected = one_by_one(model, continuations, 0.5);
  expect_equal(score_continuations(model, continuations, {}), expected);
  expect_equal(score_continuations(model, continuations, {.share_beginnings = false}), expected);
}

TEST(Continuations, AskedTwiceGiveTheSameBits) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  const Ids given(40, 'x');
  std::vector<Continuation> continuations;
  for (const Ids& scored : {Ids{1, 2, 3}, Ids{4}, Ids{1, 2, 3}, Ids{4}, Ids{1, 2}}) {
    continuations.push_back(continuation(given, scored));
  }
  const auto scores = score_continuations(model, continuations, {});
  EXPECT_EQ(scores[0].logprob, scores[2].logprob);
  EXPECT_EQ(scores[1].logprob, scores[3].logprob);
  EXPECT_NE(scores[0].logprob, scores[4].logprob);
}

TEST(Continuations, EveryChoiceOfTheNextTokenSumsToOne) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  std::vector<Continuation> continuations;
  for (int32_t id = 0; id < 258; ++id) continuations.push_back(continuation({257, 'a', 'b'}, {id}));
  double sum = 0.0;
  int greedy = 0;
  for (const auto& score : score_continuations(model, continuations, {})) {
    sum += std::exp(score.logprob);
    greedy += score.greedy;
  }
  EXPECT_NEAR(sum, 1.0, 1e-5);
  EXPECT_EQ(greedy, 1);
}

TEST(Continuations, ThresholdCuts) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  const std::vector<Continuation> one{continuation(Ids(30, 'q'), {1, 2})};
  EXPECT_NE(score_continuations(model, one, {.threshold = 0.0})[0].logprob,
            score_continuations(model, one, {.threshold = 1.0})[0].logprob);
}

TEST(Continuations, ProgressEndsAtTheirNumber) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  std::mt19937 random(9);
  const auto continuations = random_continuations(random, 50);
  size_t last = 0;
  score_continuations(model, continuations, {.batch_tokens = 64, .progress = [&](size_t done) {
                                               EXPECT_GE(done, last);
                                               last = done;
                                             }});
  EXPECT_EQ(last, continuations.size());
}

TEST(Continuations, NoneGiveNone) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  EXPECT_TRUE(score_continuations(model, {}, {}).empty());
}

TEST(Continuations, WithoutAGivenOrAScoredIdAreRefused) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  EXPECT_THROW(score_continuations(model, {{.ids = {1, 2}, .given = 0}}, {}), c10::Error);
  EXPECT_THROW(score_continuations(model, {{.ids = {1, 2}, .given = 2}}, {}), c10::Error);
}

}  // namespace
}  // namespace dlcm
