// What exported weights cost, and quality against ratio.
#include "dlcm/eval/ratio_curve.h"
#include "dlcm/eval/rounding_cost.h"
#include "dlcm/util/error.h"
#include "tests/infer/tiny_model.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace dlcm {
namespace {

class OnAText : public testing::Test {
 protected:
  OnAText() {
    std::string text;
    for (int i = 0; i < 40; ++i) text += "It was the best of times, it was the worst of times." + std::to_string(i * i);
    test::overwrite(path_, text);
  }

  test::TemporaryDirectory directory_;
  std::string path_ = directory_ / "text.txt";
  test::TinyModel model_ = test::tiny_model(test::tiny_config(ModelKind::dlcm));
};

TEST_F(OnAText, UnroundedWeightsCostNothing) {
  Engine same(model_.packed());
  const auto cost = rounding_cost(model_, same, {path_});
  EXPECT_EQ(cost.relative_loss(), 0.0);
  EXPECT_EQ(cost.flipped, 0);
  EXPECT_EQ(cost.trained.tokens, cost.exported.tokens);
}

TEST_F(OnAText, FlippedBoundariesAreCounted) {
  Engine rounded(model_.packed(WeightFormat::int4));
  const auto cost = rounding_cost(model_, rounded, {path_, path_});
  const auto one = rounding_cost(model_, rounded, {path_});
  EXPECT_EQ(cost.flipped, 2 * one.flipped);
  int64_t flipped = 0;
  const double threshold = static_cast<const EngineModel&>(model_).threshold();
  const auto trained = evaluate_text(model_, path_, threshold).evaluation;
  const auto exported = evaluate_text(rounded, path_, threshold).evaluation;
  for (size_t t = 0; t < trained.p.size(); ++t) {
    flipped += (trained.p[t] >= static_cast<float>(threshold)) != (exported.p[t] >= static_cast<float>(threshold));
  }
  EXPECT_GT(flipped, 0);
  EXPECT_EQ(one.flipped, flipped);
  const auto json = nlohmann::json::parse(to_json(one).dump());
  EXPECT_EQ(json.at("flipped_boundaries"), flipped);
  EXPECT_NEAR(json.at("relative_loss").get<double>(), exported.bits_per_byte() / trained.bits_per_byte() - 1.0, 1e-12);
  EXPECT_NE(rounding_cost_text(one).find(fmt::format("{} of {}", flipped, one.trained.tokens)), std::string::npos);
}

TEST_F(OnAText, LlamaHasNoBoundariesToFlip) {
  const auto llama = test::tiny_model(test::tiny_config(ModelKind::llama));
  Engine rounded(llama.packed(WeightFormat::int8));
  const auto cost = rounding_cost(llama, rounded, {path_});
  EXPECT_TRUE(to_json(cost).at("flipped_boundaries").is_null());
  EXPECT_EQ(rounding_cost_text(cost).find("boundary"), std::string::npos);
}

TEST_F(OnAText, RatiosAreRealisedAndStandBesideTheStoredThreshold) {
  model_.boundary_quantiles =
      evaluate_text(test::tiny_model(model_.config), path_, 0.5).evaluation.boundary_quantiles();
  const auto points = ratio_curve(model_, {path_}, {2.0, 4.0, 8.0});
  ASSERT_EQ(points.size(), 4u);
  EXPECT_FALSE(points.front().wanted);
  EXPECT_EQ(points.front().evaluation.threshold, model_.config.parser.threshold);
  for (size_t i = 1; i < points.size(); ++i) {
    EXPECT_NEAR(*points[i].evaluation.evaluation.ratio(), *points[i].wanted, 0.05 * *points[i].wanted);
    EXPECT_EQ(to_json(points[i]).at("wanted_ratio"), *points[i].wanted);
  }
  EXPECT_TRUE(to_json(points.front()).at("wanted_ratio").is_null());
  const auto table = ratio_table(points);
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 5);
}

TEST_F(OnAText, RatiosThatTheModelCannotFollowAreErrors) {
  EXPECT_THROW(ratio_curve(model_, {path_}, {4.0, 0.5}), Error);
  const auto llama = test::tiny_model(test::tiny_config(ModelKind::llama));
  EXPECT_THROW(ratio_curve(llama, {path_}, {4.0}), Error);
}

}  // namespace
}  // namespace dlcm
