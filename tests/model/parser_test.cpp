// Parser against what it is defined to be, written out.
#include "dlcm/model/parser.h"

#include "dlcm/ops/rms_norm.h"
#include "dlcm/ops/uniform.h"
#include "tests/model/stages.h"
#include "tests/support/gradients.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace dlcm {
namespace {

using test::distance;
using test::flags;
using test::parameter;
using test::randomise;
using test::Tensors;

Config parser_config(BoundaryRule rule) {
  auto config = test::random_model_config(ModelKind::dlcm);
  config.parser.rule = rule;
  return config;
}

Parser random_parser(const Config& config) {
  Parser parser(config);
  randomise(parser);
  test::fill_buffers(*parser);
  return parser;
}

struct ParserProblem {
  explicit ParserProblem(BoundaryRule rule, const std::vector<int64_t>& lengths = {31, 1, 18}, uint64_t seed = 4)
      : config(parser_config(rule)) {
    std::mt19937_64 random(seed);
    batch = test::random_batch(lengths, 64, random);
    at::manual_seed(seed);
    h_TD = at::randn({batch.tokens(), 16}, at::kDouble);
    uniform_T = uniform_draws(seed, DrawUse::boundary, 0, 0, batch.tokens());
  }
  Config config;
  Batch batch;
  at::Tensor h_TD, uniform_T;
};

TEST(Parser, ScoreIsHalfOfOneMinusTheCosine) {
  ParserProblem problem(BoundaryRule::learned);
  auto parser = random_parser(problem.config);
  const auto actual = [&](const Tensors& x) {
    return parser->forward(x[0], problem.batch, Decision::evaluation(0.5)).p_T;
  };
  const auto literal = [&](const Tensors& x) {
    const auto h = rms_norm_reference(x[0], parameter(*parser, "norm.gain"), 1e-5);
    const auto q = at::mm(h, parameter(*parser, "query.weight").t()),
               k = at::mm(h, parameter(*parser, "key.weight").t());
    std::vector<at::Tensor> p;
    for (int64_t t = 0; t < h.size(0); ++t) {
      const bool first = problem.batch.documents.position_T[t].item<int64_t>() == 0;
      p.push_back(first ? at::ones({}, at::kDouble)
                        : (1 - (q[t - 1] * k[t]).sum() / (q[t - 1].norm() * k[t].norm())) / 2);
    }
    return at::stack(p);
  };
  test::expect_equal_to_reference(actual, literal, {problem.h_TD});
  EXPECT_EQ(parameter(*parser, "query.weight").size(0), 8);  // C = D / 2
}

TEST(Parser, LearnedRuleDecidesByThresholdOrDraw) {
  ParserProblem problem(BoundaryRule::learned);
  problem.config.parser.temperature = 3.0;
  auto sampling = random_parser(problem.config);
  const auto p_T = sampling->forward(problem.h_TD, problem.batch, Decision::evaluation(0.5)).p_T;
  for (const double threshold : {0.0, 0.3, 0.5, 0.7, 1.0}) {
    const auto cut = sampling->forward(problem.h_TD, problem.batch, Decision::evaluation(threshold));
    EXPECT_TRUE(at::equal(cut.boundary_T, p_T.ge(threshold))) << threshold;
  }
  const auto training = Decision::training(problem.uniform_T);
  EXPECT_TRUE(at::equal(sampling->forward(problem.h_TD, problem.batch, training).boundary_T,
                        problem.uniform_T.lt(sharpen(p_T, 3.0))));
  auto config = problem.config;
  config.parser.decision = BoundaryDecision::threshold;
  config.parser.threshold = 0.7;  // what evaluation was calibrated to: training does not read it
  Parser hard(config);
  randomise(hard);
  const auto cut = hard->forward(problem.h_TD, problem.batch, training);
  EXPECT_TRUE(at::equal(cut.boundary_T, cut.p_T.ge(0.5)));
}

TEST(Parser, SharpenedScoreIsTheSigmoidOfTheScaledLogit) {
  const auto p = at::tensor({0.0, 1e-300, 0.1, 0.25, 0.5, 0.9, 1.0}, at::kDouble);
  EXPECT_LE(distance(sharpen(p, 1.0), p), 1e-15);
  for (const double alpha : {1e-3, 4.0, 16.0, 1e6}) {
    const auto sharp = sharpen(p, alpha);
    EXPECT_EQ(sharp[0].item<double>(), 0.0);
    EXPECT_EQ(sharp[4].item<double>(), 0.5) << alpha;
    EXPECT_EQ(sharp[6].item<double>(), 1.0);
    EXPECT_NEAR(sharp[3].item<double>(), 1 / (1 + std::pow(3.0, alpha)), 1e-14) << alpha;
    EXPECT_NEAR(sharp[5].item<double>(), 1 / (1 + std::pow(1.0 / 9, alpha)), 1e-14) << alpha;
  }
  EXPECT_EQ(sharpen(at::ones({1}), 4.0).scalar_type(), at::kDouble);
}

TEST(Parser, ScoreIsOneAtFirstTokensWhateverTheRule) {
  for (const auto rule : test::kBoundaryRules) {
    ParserProblem problem(rule);
    problem.config.parser.cosine_threshold = 1.0;
    auto parser = random_parser(problem.config);
    const auto first_T = problem.batch.documents.position_T.eq(0);
    for (const auto& decision : {Decision::evaluation(1.0), Decision::training(at::full({50}, 0.999, at::kDouble))}) {
      const auto cut = parser->forward(problem.h_TD, problem.batch, decision);
      EXPECT_TRUE(cut.p_T.masked_select(first_T).eq(1).all().item<bool>()) << name_of(rule);
      EXPECT_TRUE(cut.boundary_T.masked_select(first_T).all().item<bool>()) << name_of(rule);
      if (rule != BoundaryRule::learned) {
        EXPECT_TRUE(at::equal(cut.p_T, cut.boundary_T.to(at::kDouble))) << name_of(rule);
      }
    }
  }
}

TEST(Parser, ForcedBoundariesReplaceEveryRule) {
  std::mt19937_64 random(5);
  for (const auto rule : test::kBoundaryRules) {
    const ParserProblem problem(rule);
    auto parser = random_parser(problem.config);
    const auto forced_T = test::random_boundaries(problem.batch.documents, random);
    auto training = Decision::training(problem.uniform_T);
    training.forced_T = forced_T;
    for (const auto& decision : {Decision::forced(forced_T), training}) {
      const auto cut = parser->forward(problem.h_TD, problem.batch, decision);
      EXPECT_TRUE(at::equal(cut.boundary_T, forced_T));
      if (rule == BoundaryRule::learned) {
        EXPECT_TRUE(at::equal(cut.p_T, parser->forward(problem.h_TD, problem.batch, Decision::evaluation(0.5)).p_T));
      } else {
        EXPECT_TRUE(at::equal(cut.p_T, forced_T.to(at::kDouble)));
      }
    }
  }
}

TEST(Parser, StrideOpensPlaceKAtTheFirstPositionNotBelowKTimesR) {
  for (const double ratio : {1.25, 2.0, 2.5, 3.0, 7.75, 100.0}) {
    ParserProblem problem(BoundaryRule::stride, {41, 1, 29});
    problem.config.parser.ratio = ratio;
    auto parser = random_parser(problem.config);
    const auto boundary_T = parser->forward(problem.h_TD, problem.batch, Decision::evaluation(0.5)).boundary_T;
    std::vector<bool> expected;
    for (const int64_t length : {41, 1, 29}) {
      std::vector<bool> document(length, false);
      for (int64_t k = 0; std::ceil(k * ratio) < length; ++k)
        document[static_cast<size_t>(std::ceil(k * ratio))] = true;
      expected.insert(expected.end(), document.begin(), document.end());
    }
    EXPECT_EQ(flags(boundary_T), expected) << ratio;
    EXPECT_TRUE(at::equal(
        parser->forward(problem.h_TD, problem.batch, Decision::training(problem.uniform_T)).boundary_T, boundary_T));
  }
}

TEST(Parser, RandomRuleInEvaluationDependsOnSeedTokenAndPositionAlone) {
  ParserProblem one(BoundaryRule::random, {400, 300}, 6), other(BoundaryRule::random, {1, 400}, 7);
  one.batch.token_T.narrow(0, 400, 300).copy_(one.batch.token_T.narrow(0, 0, 300));
  other.batch.token_T.narrow(0, 1, 400).copy_(one.batch.token_T.narrow(0, 0, 400));
  auto parser = random_parser(one.config);
  const auto boundary = [&](Parser& from, const ParserProblem& problem, double threshold) {
    return from->forward(problem.h_TD, problem.batch, Decision::evaluation(threshold)).boundary_T;
  };
  const auto first = boundary(parser, one, 0.5);
  EXPECT_TRUE(at::equal(first.narrow(0, 0, 300), first.narrow(0, 400, 300)));
  EXPECT_TRUE(at::equal(first.narrow(0, 0, 400), boundary(parser, other, 0.1).narrow(0, 1, 400)));
  const auto rate = first.to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(rate, 1 / 2.5, 5 * std::sqrt(0.4 * 0.6 / 400));
  // Another text has boundaries at other places.
  const ParserProblem another(BoundaryRule::random, {400, 300}, 8);
  EXPECT_FALSE(at::equal(first.narrow(0, 0, 400), boundary(parser, another, 0.5).narrow(0, 0, 400)));
  one.config.train.seed = 2;
  auto reseeded = random_parser(one.config);
  EXPECT_FALSE(at::equal(first, boundary(reseeded, one, 0.5)));
}

TEST(Parser, RandomRuleInTrainingTakesTheDraws) {
  const ParserProblem problem(BoundaryRule::random);
  auto parser = random_parser(problem.config);
  const auto cut = parser->forward(problem.h_TD, problem.batch, Decision::training(problem.uniform_T));
  EXPECT_TRUE(
      at::equal(cut.boundary_T, problem.uniform_T.lt(0.4).logical_or(problem.batch.documents.position_T.eq(0))));
}

TEST(Parser, WhitespaceRuleKeepsSegmentsAtLeastMinLengthLong) {
  for (const int64_t min_length : {1, 2, 5}) {
    ParserProblem problem(BoundaryRule::whitespace, {60, 1, 40});
    problem.config.parser.min_length = min_length;
    auto parser = random_parser(problem.config);
    std::vector<bool> expected;
    int64_t length = 0;
    for (int64_t t = 0; t < problem.batch.tokens(); ++t) {
      const bool opens_word = problem.batch.token_T[t].item<int64_t>() % 4 == 0;
      const bool first = problem.batch.documents.position_T[t].item<int64_t>() == 0;
      expected.push_back(first || (opens_word && length >= min_length));
      length = expected.back() ? 1 : length + 1;
    }
    const auto cut = parser->forward(problem.h_TD, problem.batch, Decision::evaluation(0.5));
    EXPECT_EQ(flags(cut.boundary_T), expected) << min_length;
  }
}

TEST(Parser, CosineRuleComparesNeighboursWithItsOwnThreshold) {
  ParserProblem problem(BoundaryRule::cosine);
  problem.config.parser.cosine_threshold = 0.4;
  auto parser = random_parser(problem.config);
  std::vector<bool> expected;
  for (int64_t t = 0; t < problem.batch.tokens(); ++t) {
    const bool first = problem.batch.documents.position_T[t].item<int64_t>() == 0;
    if (first) {
      expected.push_back(true);
      continue;
    }
    const auto a = problem.h_TD[t - 1], b = problem.h_TD[t];
    expected.push_back((1 - (a * b).sum().item<double>() / (a.norm() * b.norm()).item<double>()) / 2 >= 0.4);
  }
  EXPECT_EQ(flags(parser->forward(problem.h_TD, problem.batch, Decision::evaluation(0.9)).boundary_T), expected);
  EXPECT_TRUE(parser->parameters().empty());
}

}  // namespace
}  // namespace dlcm
