// Invariant 3: micro-batches, ranks and one big batch give the same losses, rates and gradients, and those are the ones
// of the loss as it is written.
#include "dlcm/train/step_gradients.h"

#include "dlcm/ops/cross_entropy.h"
#include "dlcm/ops/uniform.h"
#include "dlcm/train/global_parser.h"
#include "tests/support/gradients.h"
#include "tests/support/models.h"
#include "tests/support/ranks.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace dlcm {
namespace {

using test::distance;

constexpr int64_t kWindow = 16, kWindows = 6, kTokens = kWindow * kWindows, kVocabulary = 64, kStep = 7;
constexpr int64_t kBucketElements = 700;  // several parameters in one, and one that is larger

// One step's tokens: documents of these lengths, cut again at the windows' edges.
struct StepTokens {
  StepTokens() {
    std::mt19937_64 random(21);
    const auto whole = test::random_batch({9, 30, 1, 24, 32}, kVocabulary, random);
    token_T = whole.token_T;
    target_T = whole.target_T;
    starts = whole.documents.position_T.eq(0).logical_or(at::arange(kTokens, at::kLong).remainder(kWindow).eq(0));
    totals = {.tokens = kTokens, .targets = target_T.ge(0).sum().item<int64_t>()};
  }
  // Windows [first, first + count).
  Batch windows(int64_t first, int64_t count) const {
    Batch batch;
    const int64_t first_token = first * kWindow;
    batch.index_T = at::arange(first_token, first_token + count * kWindow, at::kLong);
    batch.token_T = token_T.narrow(0, first_token, count * kWindow);
    batch.target_T = target_T.narrow(0, first_token, count * kWindow);
    std::vector<int64_t> offsets;
    for (int64_t t = 0; t < count * kWindow; ++t) {
      if (starts[first_token + t].item<bool>()) offsets.push_back(t);
    }
    offsets.push_back(count * kWindow);
    batch.documents = Documents::from_offsets(offsets);
    return batch;
  }
  at::Tensor token_T, target_T, starts;
  StepTotals totals;
};

struct StepResult {
  StepMeasurements measured;
  std::map<std::string, at::Tensor> gradients;
};

StepResult run_rank(const Config& config, at::ScalarType type, const StepTokens& tokens,
                    const std::vector<std::pair<int64_t, int64_t>>& micro_batches, Communicator& communicator,
                    const at::Tensor& forced_T = {}, int64_t num_workers = 1) {
  auto model = test::double_model(config);
  for (auto& parameter : model->parameters()) {
    parameter.set_data(parameter.to(type));
    parameter.mutable_grad() = at::full_like(parameter, 5.0);  // of a step before
  }
  std::vector<Batch> batches;
  std::vector<at::Tensor> forced;
  for (const auto& [first, count] : micro_batches) {
    batches.push_back(tokens.windows(first, count));
    if (forced_T.defined()) forced.push_back(forced_T.narrow(0, first * kWindow, count * kWindow));
  }
  StepResult result;
  WorkerThreads workers(num_workers);
  Gradients gradients(*model, communicator, Sharding::none, kBucketElements);
  result.measured = step_gradients(*model, batches, tokens.totals, kStep, workers, gradients, forced);
  for (const auto& entry : model->named_parameters()) result.gradients[entry.key()] = entry.value().grad().clone();
  return result;
}

StepResult one_big_batch(const Config& config, at::ScalarType type, const at::Tensor& forced_T = {}) {
  SingleProcess communicator;
  return run_rank(config, type, StepTokens(), {{0, kWindows}}, communicator, forced_T);
}

// A way to share the windows of a step out: micro-batches (first window, count) of each rank.
using Split = std::vector<std::vector<std::pair<int64_t, int64_t>>>;

const std::vector<Split>& splits() {
  static const std::vector<Split> all{
      {{{0, 3}, {3, 3}}},                                  // two micro-batches
      {{{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}}},  // six
      {{{0, 3}}, {{3, 3}}},                                // two ranks
      {{{0, 1}, {2, 1}, {4, 1}}, {{1, 1}, {3, 1}, {5, 1}}},
      {{{0, 2}}, {{2, 2}}, {{4, 2}}},
      {{{0, 2}, {4, 2}}, {{2, 2}}},  // uneven ranks
      {{{0, 3}}, {{3, 3}}, {}},      // a rank with nothing to do
  };
  return all;
}

std::vector<StepResult> run_split(const Config& config, at::ScalarType type, const Split& split,
                                  const at::Tensor& forced_T = {}) {
  const StepTokens tokens;
  std::vector<StepResult> results(split.size());
  test::on_ranks(static_cast<int64_t>(split.size()), [&](Communicator& communicator) {
    const auto rank = static_cast<size_t>(communicator.rank());
    results[rank] = run_rank(config, type, tokens, split[rank], communicator, forced_T);
  });
  return results;
}

void expect_same_step(const StepResult& actual, const StepResult& expected, double tolerance) {
  EXPECT_NEAR(actual.measured.loss, expected.measured.loss, tolerance * 10);
  EXPECT_NEAR(actual.measured.aux_loss, expected.measured.aux_loss, tolerance * 10);
  EXPECT_NEAR(actual.measured.mean_score, expected.measured.mean_score, tolerance);
  EXPECT_EQ(actual.measured.boundary_rate, expected.measured.boundary_rate);
  ASSERT_EQ(actual.measured.scores.has_value(), expected.measured.scores.has_value());
  for (const auto& [name, gradient] : expected.gradients) {
    const double scale = std::max(1e-3, gradient.abs().max().item<double>());
    EXPECT_LE(distance(actual.gradients.at(name) / scale, gradient / scale), tolerance * 10) << name;
  }
}

struct Case {
  std::string name;
  Config config;

  friend void PrintTo(const Case& printed, std::ostream* out) { *out << printed.name; }
};

std::vector<Case> cases() {
  std::vector<Case> all{{"llama", test::random_model_config(ModelKind::llama)}};
  for (const auto scope : {ParserScope::global, ParserScope::sequence}) {
    for (const auto gradient :
         {ParserGradient::decoupled, ParserGradient::smoothing, ParserGradient::straight_through}) {
      auto config = test::random_model_config(ModelKind::dlcm);
      config.parser.scope = scope;
      config.parser.gradient = gradient;
      config.parser.loss_weight = 3.0;
      config.mup.base_token_width = 8;
      if (gradient == ParserGradient::smoothing) config.smoothing.kind = SmoothingKind::moving_average;
      all.push_back({fmt::format("{}_{}", name_of(scope), name_of(gradient)), config});
    }
  }
  auto config = test::random_model_config(ModelKind::dlcm);
  config.parser.decision = BoundaryDecision::threshold;
  all.push_back({"hard_decisions", config});
  config.parser.rule = BoundaryRule::random;
  all.push_back({"random_rule", config});
  return all;
}

class Step : public testing::TestWithParam<Case> {
 protected:
  test::Threads one_thread_{1};
};

TEST_P(Step, EverySplitGivesTheGradientsOfOneBigBatch) {
  const auto expected = one_big_batch(GetParam().config, at::kDouble);
  for (const auto& split : splits()) {
    SCOPED_TRACE(testing::Message() << "split " << &split - splits().data());
    for (const auto& rank : run_split(GetParam().config, at::kDouble, split)) expect_same_step(rank, expected, 1e-12);
  }
}

TEST_P(Step, AnyNumberOfWorkersGivesTheGradientsOfOne) {
  std::mt19937_64 random(23);
  const auto forced_T = test::random_boundaries(StepTokens().windows(0, kWindows).documents, random);
  const std::vector<std::pair<int64_t, int64_t>> one{{0, kWindows}}, several{{0, 4}, {4, 1}, {5, 1}};
  for (const auto& boundaries : {at::Tensor(), forced_T}) {
    const auto expected = one_big_batch(GetParam().config, at::kDouble, boundaries);
    for (const int64_t workers : {2, 3, 16}) {
      for (const auto& micro_batches : {one, several}) {
        SCOPED_TRACE(testing::Message() << workers << " workers, " << micro_batches.size() << " micro-batches");
        SingleProcess communicator;
        const auto actual =
            run_rank(GetParam().config, at::kDouble, StepTokens(), micro_batches, communicator, boundaries, workers);
        expect_same_step(actual, expected, 1e-12);
        EXPECT_EQ(actual.measured.work.token_pairs, expected.measured.work.token_pairs);
        EXPECT_EQ(actual.measured.work.cross_pairs, expected.measured.work.cross_pairs);
      }
    }
  }
}

TEST_P(Step, ActivationCheckpointingChangesNoBit) {
  SingleProcess communicator;
  for (const int64_t workers : {1, 2}) {
    auto config = GetParam().config;
    const auto run = [&] {
      return run_rank(config, at::kFloat, StepTokens(), {{0, kWindows}}, communicator, {}, workers);
    };
    const auto expected = run();
    config.train.activation_checkpointing = true;
    const auto actual = run();
    EXPECT_EQ(actual.measured.loss, expected.measured.loss);
    for (const auto& [name, gradient] : expected.gradients)
      EXPECT_TRUE(at::equal(actual.gradients.at(name), gradient)) << name;
  }
}

TEST_P(Step, WorkersGiveTheSameBitsAgain) {
  SingleProcess communicator;
  const auto run = [&] {
    return run_rank(GetParam().config, at::kFloat, StepTokens(), {{0, kWindows}}, communicator, {}, 3);
  };
  const auto first = run(), second = run();
  for (const auto& [name, gradient] : first.gradients)
    EXPECT_TRUE(at::equal(gradient, second.gradients.at(name))) << name;
}

TEST_P(Step, EverySplitAgreesInFloatWithBoundariesForced) {
  std::mt19937_64 random(22);
  const auto forced_T = test::random_boundaries(StepTokens().windows(0, kWindows).documents, random);
  const auto expected = one_big_batch(GetParam().config, at::kDouble, forced_T);
  expect_same_step(one_big_batch(GetParam().config, at::kFloat, forced_T), expected, 1e-4);
  for (const auto& split : splits()) {
    SCOPED_TRACE(testing::Message() << "split " << &split - splits().data());
    for (const auto& rank : run_split(GetParam().config, at::kFloat, split, forced_T)) {
      expect_same_step(rank, expected, 1e-4);
    }
  }
}

// The loss as SPEC section 2 writes it, differentiated by autograd with F held.
TEST_P(Step, GradientsAreThoseOfTheLossAsWritten) {
  const auto& config = GetParam().config;
  const auto actual = one_big_batch(config, at::kDouble);
  const auto model = test::double_model(config);
  const auto batch = StepTokens().windows(0, kWindows);
  const auto output = model->forward(batch, Decision::training(uniform_draws(static_cast<uint64_t>(config.train.seed),
                                                                             DrawUse::boundary, kStep, 0, kTokens)));
  auto loss = cross_entropy_reference(output.y_TD, model->head(), batch.target_T, model->logit_scale()).sum /
              static_cast<double>(batch.target_T.ge(0).sum().item<int64_t>());
  EXPECT_NEAR(actual.measured.loss, loss.item<double>(), 1e-12);
  const double ratio = config.parser.ratio;
  const auto auxiliary = [&](const at::Tensor& boundary, const at::Tensor& p) {
    const auto rate = boundary.to(at::kDouble).mean(), score = p.mean();
    return ratio / (ratio - 1) * ((ratio - 1) * rate * score + (1 - rate) * (1 - score)) - 1;
  };
  if (output.cut) {
    EXPECT_EQ(actual.measured.boundary_rate, output.cut->boundary_T.to(at::kDouble).mean().item<double>());
    EXPECT_NEAR(actual.measured.mean_score, output.cut->p_T.mean().item<double>(), 1e-14);
  }
  if (output.cut && config.parser.rule == BoundaryRule::learned) {
    auto aux_loss = at::zeros({}, at::kDouble);
    if (config.parser.scope == ParserScope::global) {
      aux_loss = auxiliary(output.cut->boundary_T, output.cut->p_T);
    } else {
      const auto& offsets = batch.documents.offsets;
      for (int64_t i = 0; i < batch.documents.size(); ++i) {
        aux_loss = aux_loss + auxiliary(output.cut->boundary_T.slice(0, offsets[i], offsets[i + 1]),
                                        output.cut->p_T.slice(0, offsets[i], offsets[i + 1]));
      }
      aux_loss = aux_loss / static_cast<double>(batch.documents.size());
    }
    EXPECT_NEAR(actual.measured.aux_loss, aux_loss.item<double>(), 1e-12);
    EXPECT_NE(actual.measured.aux_loss, 0.0);
    loss = loss + config.parser.loss_weight * aux_loss;
  } else {
    EXPECT_EQ(actual.measured.aux_loss, 0.0);
  }
  loss.backward();
  for (const auto& entry : model->named_parameters()) {
    const auto expected = entry.value().grad().defined() ? entry.value().grad() : at::zeros_like(entry.value());
    EXPECT_LE(distance(actual.gradients.at(entry.key()), expected), 1e-12) << entry.key();
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Step, testing::ValuesIn(cases()),
                         [](const auto& information) { return information.param.name; });

TEST(StepMeasurement, CountsWhatTheForwardPassesSaw) {
  auto config = test::random_model_config(ModelKind::dlcm);
  config.model.token.attention_window = 3;
  const auto measured = one_big_batch(config, at::kDouble).measured;
  const auto batch = StepTokens().windows(0, kWindows);
  const auto segmentation =
      *test::double_model(config)
           ->forward(batch, Decision::training(uniform_draws(1, DrawUse::boundary, kStep, 0, kTokens)))
           .segmentation;
  EXPECT_EQ(measured.work.tokens, kTokens);
  EXPECT_EQ(measured.work.token_pairs, causal_pairs(batch.documents.offsets, 3));
  EXPECT_EQ(measured.work.entropy_pairs, causal_pairs(batch.documents.offsets));
  EXPECT_EQ(measured.work.concepts, static_cast<double>(segmentation.concepts()));
  EXPECT_EQ(measured.work.concept_pairs, causal_pairs(segmentation.places.offsets));
  EXPECT_EQ(measured.work.cross_pairs, (segmentation.place_T - segmentation.visible_begin_T + 1).sum().item<double>());
  auto scores = *measured.scores;
  EXPECT_EQ(scores.counts().sum().item<int64_t>(), kTokens);
}

TEST(StepMeasurement, RanksAddUpTheirScores) {
  const auto config = test::random_model_config(ModelKind::dlcm);
  auto expected = *one_big_batch(config, at::kFloat).measured.scores;
  for (auto& rank : run_split(config, at::kFloat, {{{0, 3}}, {{3, 3}}})) {
    EXPECT_EQ(rank.measured.scores->counts().sum().item<int64_t>(), kTokens);
    EXPECT_NEAR(rank.measured.scores->threshold_for(0.4), expected.threshold_for(0.4), 1e-3);
  }
}

TEST(StepMeasurement, FirstPassRunsOnlyWhereItIsNeeded) {
  auto config = test::random_model_config(ModelKind::dlcm);
  const auto first_pass = [&](const Split& split) {
    return run_split(config, at::kFloat, split)[0].measured.first_pass_seconds;
  };
  EXPECT_EQ(first_pass({{{0, 6}}}), 0.0);
  EXPECT_GT(first_pass({{{0, 3}, {3, 3}}}), 0.0);
  config.parser.scope = ParserScope::sequence;
  EXPECT_EQ(first_pass({{{0, 3}, {3, 3}}}), 0.0);
}

TEST(StepMeasurement, OtherStepsDrawOtherBoundaries) {
  const auto config = test::random_model_config(ModelKind::dlcm);
  WorkerThreads workers(1);
  SingleProcess communicator;
  const StepTokens tokens;
  std::vector<double> rates;
  for (int64_t step = 0; step < 4; ++step) {
    const auto model = test::double_model(config);
    Gradients gradients(*model, communicator);
    rates.push_back(
        step_gradients(*model, {tokens.windows(0, kWindows)}, tokens.totals, step, workers, gradients).boundary_rate);
  }
  EXPECT_NE(rates, std::vector<double>(4, rates[0]));
}

// ---- Ratio loss

TEST(RatioLoss, SlopeIsItsDerivativeByTheMeanScore) {
  for (const double ratio : {1.5, 2.0, 4.0, 8.0}) {
    for (const double rate : {0.0, 0.1, 0.25, 0.9, 1.0}) {
      const double numeric = (ratio_loss(ratio, rate, 0.4 + 1e-3) - ratio_loss(ratio, rate, 0.4 - 1e-3)) / 2e-3;
      EXPECT_NEAR(ratio_loss_slope(ratio, rate), numeric, 1e-10);
    }
  }
}

TEST(RatioLoss, IsZeroAtTheTargetAndPushesTowardsIt) {
  EXPECT_NEAR(ratio_loss(4.0, 0.25, 0.25), 0.0, 1e-15);
  EXPECT_NEAR(ratio_loss_slope(4.0, 0.25), 0.0, 1e-15);
  EXPECT_GT(ratio_loss_slope(4.0, 0.5), 0.0);  // too many boundaries: scores should fall
  EXPECT_LT(ratio_loss_slope(4.0, 0.1), 0.0);
  EXPECT_NEAR(ratio_loss(4.0, 1.0, 1.0), 3.0, 1e-15);
}

}  // namespace
}  // namespace dlcm
