// What must hold of the whole model for every boundary rule, gradient variant, smoothing and reading of the
// cross-attention: causality both ways, packing, and where the language-model loss may reach the parser.
#include "dlcm/model/language_model.h"
#include "dlcm/ops/cross_entropy.h"
#include "dlcm/ops/uniform.h"
#include "tests/support/gradients.h"
#include "tests/support/models.h"

#include <gtest/gtest.h>

#include <random>

namespace dlcm {
namespace {

using test::distance;
using test::parameter;

constexpr double kTolerance = 1e-12;

struct Case {
  std::string name;
  Config config;

  friend void PrintTo(const Case& printed, std::ostream* out) { *out << printed.name; }
};

std::vector<Case> dlcm_cases() {
  std::vector<Case> cases;
  for (const auto rule : test::kBoundaryRules) {
    for (const auto decision : {BoundaryDecision::sample, BoundaryDecision::threshold}) {
      if (rule != BoundaryRule::learned && decision == BoundaryDecision::threshold) continue;  // learned alone reads it
      for (const auto gradient :
           {ParserGradient::decoupled, ParserGradient::smoothing, ParserGradient::straight_through}) {
        for (const auto smoothing : {SmoothingKind::identity, SmoothingKind::moving_average}) {
          if (gradient == ParserGradient::smoothing && smoothing == SmoothingKind::identity) continue;
          for (const auto reading :
               {CrossAttentionReading::plain, CrossAttentionReading::replicated, CrossAttentionReading::replication}) {
            auto config = test::random_model_config(ModelKind::dlcm);
            config.parser.rule = rule;
            config.parser.decision = decision;
            config.parser.gradient = gradient;
            config.parser.cosine_threshold = 0.47;
            config.smoothing.kind = smoothing;
            config.model.cross_attention = reading;
            check_config(config);
            const auto name = fmt::format("{}_{}_{}_{}_{}", name_of(rule), name_of(decision), name_of(gradient),
                                          name_of(smoothing), name_of(reading));
            cases.push_back({name, config});
            if (rule == BoundaryRule::learned) {
              cases.push_back({name + "_beyond_the_paper", test::beyond_the_paper(config, 16)});
            }
          }
        }
      }
    }
  }
  auto config = test::random_model_config(ModelKind::dlcm);
  config.model.concepts.layers = 0;
  cases.push_back({"no_backbone", config});
  return cases;
}

std::vector<Case> all_cases() {
  auto cases = dlcm_cases();
  const auto llama = test::random_model_config(ModelKind::llama);
  cases.push_back({"llama", llama});
  cases.push_back({"llama_beyond_the_paper", test::beyond_the_paper(llama, 16)});
  return cases;
}

std::string case_name(const testing::TestParamInfo<Case>& information) { return information.param.name; }

Decision part_of(const Decision& decision, int64_t first, int64_t count) {
  auto part = decision;
  if (part.uniform_T.defined()) part.uniform_T = part.uniform_T.narrow(0, first, count);
  if (part.forced_T.defined()) part.forced_T = part.forced_T.narrow(0, first, count);
  return part;
}

class Model : public testing::TestWithParam<Case> {
 protected:
  static constexpr int64_t kVocabulary = 64;

  Model()
      : model_(test::double_model(GetParam().config)),
        batch_(test::random_batch({27, 0, 1, 22}, kVocabulary, random_)) {
    // Every id once, so that the gradient of its embedding is that of its position.
    auto generator = at::make_generator<at::CPUGeneratorImpl>(random_());
    batch_.token_T = at::randperm(kVocabulary, generator, at::kLong).narrow(0, 0, batch_.tokens()).contiguous();
  }

  // Evaluation, and training with the draws held fixed.
  std::vector<Decision> decisions() const {
    return {Decision::evaluation(0.5), Decision::training(uniform_draws(3, DrawUse::boundary, 5, 0, batch_.tokens()))};
  }

  test::Threads one_thread_{1};  // steady where the machine is busy
  std::mt19937_64 random_{12};
  std::shared_ptr<LanguageModel> model_;
  Batch batch_;
};

class EveryModel : public Model {};

TEST_P(EveryModel, ChangedTokenLeavesEveryEarlierOutput) {
  const at::NoGradGuard no_gradient;
  for (const auto& decision : decisions()) {
    const auto before = model_->forward(batch_, decision);
    ASSERT_GT(before.y_TD.std().item<double>(), 0.1);
    for (int64_t document = 0; document < batch_.documents.size(); ++document) {
      const int64_t first = batch_.documents.offsets[document], last = batch_.documents.offsets[document + 1];
      for (int64_t t = first; t < last; t += 1 + static_cast<int64_t>(random_() % 4)) {
        auto changed = batch_;
        changed.token_T = batch_.token_T.clone();
        changed.token_T[t] =
            (batch_.token_T[t].item<int64_t>() + 1 + static_cast<int64_t>(random_() % 62)) % kVocabulary;
        const auto after = model_->forward(changed, decision);
        const auto outside = [&](const at::Tensor& x) { return at::cat({x.narrow(0, 0, t), x.slice(0, last)}); };
        EXPECT_LE(distance(outside(after.y_TD), outside(before.y_TD)), kTolerance) << t;
        EXPECT_GT(distance(after.y_TD[t], before.y_TD[t]), 1e-3) << t;
        if (!before.cut) continue;
        EXPECT_TRUE(at::equal(outside(after.cut->boundary_T), outside(before.cut->boundary_T))) << t;
        EXPECT_LE(distance(outside(after.cut->p_T), outside(before.cut->p_T)), kTolerance) << t;
      }
    }
  }
}

TEST_P(EveryModel, OutputHasNoGradientByLaterEmbeddings) {
  auto embedding = parameter(*model_, "embedding");
  for (const auto& decision : decisions()) {
    const auto output = model_->forward(batch_, decision);
    for (int64_t t = 0; t < batch_.tokens(); t += 1 + static_cast<int64_t>(random_() % 5)) {
      embedding.mutable_grad().reset();
      (output.y_TD[t] * test::direction_like(output.y_TD[t].detach())).sum().backward({}, /*retain_graph=*/true);
      const auto gradient_TD = embedding.grad().index_select(0, batch_.token_T);
      const int64_t first = batch_.documents.begin_T[t].item<int64_t>();
      EXPECT_EQ(gradient_TD.slice(0, t + 1).count_nonzero().item<int64_t>(), 0) << t;
      EXPECT_EQ(gradient_TD.slice(0, 0, first).count_nonzero().item<int64_t>(), 0) << t;
      for (int64_t earlier = first; earlier <= t; ++earlier) {
        EXPECT_GT(gradient_TD[earlier].count_nonzero().item<int64_t>(), 0) << earlier << " by " << t;
      }
    }
  }
}

TEST_P(EveryModel, PackedDocumentsGetWhatTheyGetAlone) {
  const at::NoGradGuard no_gradient;
  for (const auto& decision : decisions()) {
    const auto packed = model_->forward(batch_, decision);
    for (int64_t document = 0; document < batch_.documents.size(); ++document) {
      const int64_t first = batch_.documents.offsets[document];
      const auto alone_batch = test::document_alone(batch_, document);
      const int64_t count = alone_batch.tokens();
      if (count == 0) continue;
      const auto alone = model_->forward(alone_batch, part_of(decision, first, count));
      EXPECT_LE(distance(packed.y_TD.narrow(0, first, count), alone.y_TD), kTolerance) << document;
      if (!packed.cut) continue;
      EXPECT_TRUE(at::equal(packed.cut->boundary_T.narrow(0, first, count), alone.cut->boundary_T)) << document;
      EXPECT_LE(distance(packed.cut->p_T.narrow(0, first, count), alone.cut->p_T), kTolerance) << document;
    }
  }
}

TEST_P(EveryModel, ParsesAsItsForwardPassDoes) {
  const at::NoGradGuard no_gradient;
  for (const auto& decision : decisions()) {
    const auto output = model_->forward(batch_, decision);
    const auto cut = model_->parse(batch_, decision);
    ASSERT_EQ(cut.has_value(), output.cut.has_value());
    if (!cut) continue;
    EXPECT_TRUE(at::equal(cut->boundary_T, output.cut->boundary_T));
    EXPECT_TRUE(at::equal(cut->p_T, output.cut->p_T));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EveryModel, testing::ValuesIn(all_cases()), case_name);

class EveryDlcm : public Model {
 protected:
  // The language-model loss, without the auxiliary loss.
  at::Tensor loss(const Decision& decision) {
    const auto output = model_->forward(batch_, decision);
    return cross_entropy(output.y_TD, model_->head(), batch_.target_T, model_->logit_scale()).sum;
  }
};

TEST_P(EveryDlcm, CutsDocumentsIntoSeveralConcepts) {
  const at::NoGradGuard no_gradient;
  for (const auto& decision : decisions()) {
    const auto concepts = model_->forward(batch_, decision).segmentation->concepts();
    EXPECT_GE(concepts, 8);
    EXPECT_LE(concepts, 42);
  }
}

TEST_P(EveryDlcm, FutureBoundariesDoNotMatter) {
  const at::NoGradGuard no_gradient;
  const auto boundary_T = test::random_boundaries(batch_.documents, random_);
  const auto before = model_->forward(batch_, Decision::forced(boundary_T));
  for (const int64_t t : {3, 10, 20, 30, 45}) {
    auto changed_T = test::random_boundaries(batch_.documents, random_);
    changed_T.narrow(0, 0, t).copy_(boundary_T.narrow(0, 0, t));
    const auto after = model_->forward(batch_, Decision::forced(changed_T));
    EXPECT_LE(distance(after.y_TD.narrow(0, 0, t), before.y_TD.narrow(0, 0, t)), kTolerance) << t;
  }
}

TEST_P(EveryDlcm, LossReachesTheParserOnlyWhereItMay) {
  const auto& config = GetParam().config;
  if (config.parser.rule != BoundaryRule::learned) {
    for (const auto& entry : model_->named_parameters()) {
      EXPECT_NE(entry.key().rfind("parser.", 0), 0U) << entry.key();
    }
    return;
  }
  for (const auto& decision : decisions()) {
    model_->zero_grad();
    loss(decision).backward();
    for (const auto* name : {"parser.query.weight", "parser.key.weight", "parser.norm.gain"}) {
      const auto gradient = parameter(*model_, name).grad();
      const bool reached = gradient.defined() && gradient.count_nonzero().item<int64_t>() > 0;
      EXPECT_EQ(reached, config.parser.gradient != ParserGradient::decoupled) << name;
    }
  }
}

TEST_P(EveryDlcm, GradientVariantChangesNoValue) {
  const at::NoGradGuard no_gradient;
  auto config = GetParam().config;
  config.parser.gradient = ParserGradient::decoupled;
  const auto decoupled = test::double_model(config);
  for (const auto& decision : decisions()) {
    EXPECT_TRUE(at::equal(model_->forward(batch_, decision).y_TD, decoupled->forward(batch_, decision).y_TD));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EveryDlcm, testing::ValuesIn(dlcm_cases()), case_name);

// With boundaries held, the loss is a smooth function of the weights: through the gate its gradient is the true one.
TEST(Dlcm, GradientThroughTheGateIsAFiniteDifference) {
  auto config = test::random_model_config(ModelKind::dlcm);
  config.parser.gradient = ParserGradient::smoothing;
  config.smoothing.kind = SmoothingKind::moving_average;
  const auto model = test::double_model(config);
  std::mt19937_64 random(13);
  const auto batch = test::random_batch({14, 9}, 64, random);
  const auto decision = Decision::forced(test::random_boundaries(batch.documents, random));
  const auto loss = [&] {
    return cross_entropy(model->forward(batch, decision).y_TD, model->head(), batch.target_T, 1.0).sum;
  };
  loss().backward();
  const at::NoGradGuard no_gradient;
  for (const auto& entry : model->named_parameters()) {
    const auto& gradient = entry.value().grad();
    auto weight = entry.value().detach();
    const auto direction = test::direction_like(weight);
    constexpr double kStep = 1e-5;
    weight.add_(direction, kStep);
    const double above = loss().item<double>();
    weight.sub_(direction, 2 * kStep);
    const double below = loss().item<double>();
    weight.add_(direction, kStep);
    const double expected = (gradient * direction).sum().item<double>();
    EXPECT_NEAR((above - below) / (2 * kStep), expected, 1e-6 * std::max(1.0, std::abs(expected))) << entry.key();
  }
}

TEST(Dlcm, LogitsAreScaledByTheWidthMultiplier) {
  for (const auto kind : {ModelKind::dlcm, ModelKind::llama}) {
    auto config = test::random_model_config(kind);
    config.mup.base_token_width = 4;
    const auto model = test::double_model(config);
    const auto y = at::randn({3, 16}, at::kDouble);
    EXPECT_EQ(model->logit_scale(), 0.25);
    EXPECT_LE(distance(model->logits(y), at::mm(y, parameter(*model, "head.weight").t()) / 4), 1e-14);
  }
}

TEST(Dlcm, TokensOutsideTheVocabularyThrow) {
  const auto model = make_model(test::random_model_config(ModelKind::dlcm));
  std::mt19937_64 random(15);
  auto batch = test::random_batch({3}, 64, random);
  batch.token_T[1] = 64;
  EXPECT_ANY_THROW(model->forward(batch, Decision::evaluation(0.5)));
}

}  // namespace
}  // namespace dlcm
