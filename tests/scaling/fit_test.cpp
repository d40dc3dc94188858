// The fit against laws that are known, and what it says of itself.
#include "dlcm/scaling/fit.h"

#include "dlcm/scaling/decay.h"
#include "dlcm/util/error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>

namespace dlcm {
namespace {

ScalingLaw known_law() {
  ScalingLaw law;
  law.irreducible = 1.7;
  law.token = {60.0, 2e4, 0.38};
  law.concepts = {25.0, 4e4, 0.31};
  law.ratio_exponent = 0.35;
  law.data = {900.0, 3e5, 0.42};
  law.baseline = {75.0, 1e4, 0.36};
  return law;
}

// Curves of `law` with relative noise of the points and, for each run, of the whole curve.
std::vector<Trajectory> curves_of(const ScalingLaw& law, double noise, double run_noise, int seeds, uint64_t seed,
                                  int points = 40) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<Trajectory> runs;
  const auto add = [&](RunScale scale) {
    Trajectory run{.name = "run", .scale = scale, .points = {}, .stable = {}, .final_loss = {}};
    const double shift = 1.0 + run_noise * normal(random);
    for (int i = 0; i < points; ++i) {
      const double tokens = 4e5 * std::pow(250.0, i / (points - 1.0));
      run.points.push_back({tokens, law.loss(scale, tokens) * shift * (1.0 + noise * normal(random))});
    }
    run.stable = {run.points.back().tokens, law.loss(scale, run.points.back().tokens) * shift};
    // The decay law that is to be found again.
    run.final_loss = run.stable.loss - 0.02 * std::pow(run.stable.loss, 1.5) * std::pow(scale.ratio, -0.1) *
                                           std::pow(scale.parameters, 0.05);
    runs.push_back(run);
  };
  for (int copy = 0; copy < seeds; ++copy) {
    for (const double parameters : {2e5, 1e6, 5e6}) {
      for (const double share : {0.3, 0.5, 0.7}) {
        for (const double ratio : {2.0, 4.0, 8.0}) add({false, parameters, share, ratio});
      }
      add({true, parameters, 0.0, 1.0});
    }
  }
  return runs;
}

constexpr FitSettings kFew{LawForm::joint, 24, 1};

TEST(Fit, FindsTheParametersOfExactCurves) {
  const auto law = known_law();
  const auto found = fit_law(curves_of(law, 0.0, 0.0, 1, 1), kFew);
  std::vector<double> expected, values;
  ScalingLaw::fields(law, [&](const char*, double value) { expected.push_back(value); });
  size_t index = 0;
  ScalingLaw::fields(
      found, [&](const char* name, double value) { EXPECT_NEAR(value / expected[index++], 1.0, 0.02) << name; });
}

TEST(Fit, FindsTheParametersOfNoisyCurves) {
  const auto law = known_law();
  const auto runs = curves_of(law, 0.004, 0.001, 1, 2);
  const auto found = fit_law(runs, kFew);
  EXPECT_NEAR(found.irreducible, law.irreducible, 0.12);
  EXPECT_NEAR(found.token.exponent, law.token.exponent, 0.06);
  EXPECT_NEAR(found.concepts.exponent, law.concepts.exponent, 0.08);
  EXPECT_NEAR(found.ratio_exponent, law.ratio_exponent, 0.05);
  EXPECT_NEAR(found.data.exponent, law.data.exponent, 0.05);
  EXPECT_GT(quality_of(found, runs).r_squared, 0.998);
  // What counts is what it predicts, also 4 times beyond the largest size and the most tokens.
  for (const double parameters : {4e5, 5e6, 2e7}) {
    for (const double share : {0.2, 0.6}) {
      const RunScale scale{false, parameters, share, 6.0};
      EXPECT_NEAR(found.loss(scale, 4e8) / law.loss(scale, 4e8), 1.0, 0.01) << parameters << " " << share;
    }
  }
}

TEST(Fit, ErrorsBetweenRunsLeaveOutWhatRunsOfOneSeedShare) {
  const auto law = known_law();
  auto runs = curves_of(law, 0.0, 0.0, 1, 1);
  runs.resize(5);
  for (auto& run : runs) {
    // The documents of a step, which all runs read, are hard or easy by 0.2.
    for (size_t i = 0; i < run.points.size(); ++i) run.points[i].loss += i % 2 == 0 ? 0.2 : -0.2;
  }
  runs[2].points[7].loss += 0.05;
  auto quality = quality_of(law, runs);
  EXPECT_NEAR(quality.largest_error, 0.2, 1e-12);
  ASSERT_TRUE(quality.largest_error_between_runs);
  EXPECT_NEAR(*quality.largest_error_between_runs, 0.04, 1e-12);  // a fifth of the 0.05 is in the mean
  // Another seed reads other documents, and four runs say nothing of what is shared.
  runs[4].seed = 2;
  EXPECT_FALSE(quality_of(law, runs).largest_error_between_runs);
}

TEST(Fit, MostIntervalsHoldTheTruth) {
  const auto law = known_law();
  const FitSettings settings{LawForm::joint, 8, 1};
  int inside = 0, intervals = 0;
  for (uint64_t seed = 2; seed < 6; ++seed) {
    const auto runs = curves_of(law, 0.004, 0.001, 1, seed, 16);
    const auto laws = bootstrap_laws(runs, fit_law(runs, settings), 20, settings);
    ASSERT_EQ(laws.size(), 20U);
    std::map<std::string, std::vector<double>> samples;
    for (const auto& one : laws) {
      ScalingLaw::fields(one, [&](const char* name, double value) { samples[name].push_back(value); });
    }
    ScalingLaw::fields(law, [&](const char* name, double truth) {
      const auto interval = interval_of(samples[name]);
      inside += interval.low <= truth && truth <= interval.high;
      ++intervals;
    });
  }
  // Of 90 % intervals, of runs that are few.
  EXPECT_GE(inside, 0.7 * intervals);
}

TEST(Fit, OneRunGoneWrongMovesItLittle) {
  const auto law = known_law();
  auto runs = curves_of(law, 0.002, 0.0, 1, 3);
  for (auto& point : runs[4].points) point.loss *= 1.3;
  const auto found = fit_law(runs, kFew);
  for (const double share : {0.3, 0.7}) {
    const RunScale scale{false, 3e6, share, 4.0};
    EXPECT_NEAR(found.loss(scale, 1e8) / law.loss(scale, 1e8), 1.0, 0.01) << share;
  }
}

TEST(Fit, PredictsConfigurationsLeftOutBetterWithSharesAndRatiosThanWithout) {
  const auto law = known_law();
  auto runs = curves_of(law, 0.002, 0.001, 2, 4);
  std::erase_if(runs, [](const Trajectory& run) { return run.scale.baseline; });
  const auto joint = fit_law(runs, kFew);
  const FitSettings plain{LawForm::size_and_data, 24, 1};
  const auto without = fit_law(runs, plain);
  EXPECT_FALSE(joint.has_baseline());
  const auto predictions = left_out_predictions(runs, joint, kFew);
  EXPECT_EQ(predictions.size(), 27U);
  const double error = root_mean_square_error(predictions).value();
  const double plain_error = root_mean_square_error(left_out_predictions(runs, without, plain)).value();
  const auto noise = seed_noise(runs);
  ASSERT_TRUE(noise);
  EXPECT_EQ(noise->freedom, 27);
  EXPECT_NEAR(noise->deviation, 0.001 * law.loss(runs[13].scale, 1e8), 0.0015);
  EXPECT_LT(error, 2.0 * noise->deviation);
  EXPECT_GT(plain_error, 5.0 * error);
}

TEST(Fit, SeedNoiseNeedsTwoSeeds) {
  EXPECT_FALSE(seed_noise(curves_of(known_law(), 0.0, 0.01, 1, 5)));
  EXPECT_TRUE(seed_noise(curves_of(known_law(), 0.0, 0.01, 2, 5)));
}

TEST(Fit, SeedsOfOneConfigurationAreTrainedForAsLong) {
  const auto alone = curves_of(known_law(), 0.0, 0.01, 1, 5);
  auto runs = alone;
  runs.push_back(alone[0]);
  runs.back().stable = {2.0 * alone[0].stable.tokens, alone[0].stable.loss - 0.3};
  EXPECT_FALSE(seed_noise(runs));
  runs.push_back(alone[0]);
  runs.back().stable = {1.005 * alone[0].stable.tokens, alone[0].stable.loss + 0.02};
  const auto noise = seed_noise(runs);
  ASSERT_TRUE(noise);
  EXPECT_EQ(noise->freedom, 1);
  EXPECT_NEAR(noise->deviation, 0.02 / std::sqrt(2.0), 1e-12);
}

// One configuration alone has another R: without it nothing says what R does.
TEST(Fit, PredictsNothingThatOnlyTheConfigurationItselfTells) {
  auto runs = curves_of(known_law(), 0.0, 0.0, 1, 9);
  const auto special = [](const Trajectory& run) {
    return run.scale.parameters == 1e6 && run.scale.backbone_share == 0.5 && run.scale.ratio == 8.0;
  };
  std::erase_if(runs, [&](const Trajectory& run) {
    return !special(run) && (run.scale.baseline || run.scale.ratio != 2.0 || run.scale.backbone_share == 0.5);
  });
  ASSERT_EQ(runs.size(), 7U);
  auto law = known_law();
  law.baseline = {};
  EXPECT_EQ(left_out_predictions(runs, law, kFew).size(), 6U);
  auto plain = law;
  plain.form = LawForm::size_and_data;
  plain.concepts = {};
  plain.ratio_exponent = 0.0;
  EXPECT_EQ(left_out_predictions(runs, plain, {LawForm::size_and_data, 1, 1}).size(), 6U);
  // Every draw has it, so that its loss comes from the runs and not from the law that the search starts at.
  const auto only = std::find_if(runs.begin(), runs.end(), special);
  law.ratio_exponent = 0.9;
  for (const auto& drawn : bootstrap_laws(runs, law, 8, kFew)) {
    EXPECT_NEAR(drawn.loss(only->scale, only->stable.tokens), only->stable.loss, 1e-3);
  }
}

TEST(Fit, WithoutPredictionsThereIsNoError) { EXPECT_FALSE(root_mean_square_error({})); }

TEST(Fit, NamesParametersAtTheEndOfTheirSearch) {
  const auto runs = curves_of(known_law(), 0.0, 0.0, 1, 10);
  EXPECT_TRUE(parameters_at_bounds(known_law(), runs).empty());
  auto law = known_law();
  law.ratio_exponent = 4.0;
  EXPECT_EQ(parameters_at_bounds(law, runs), std::vector<std::string>{"gamma"});
}

TEST(Fit, ParametersStayPositive) {
  // Curves that fall without any dependence on size: the terms in N are as good as nothing.
  std::vector<Trajectory> runs;
  for (const double parameters : {1e5, 1e6}) {
    for (const double share : {0.3, 0.7}) {
      for (const double ratio : {2.0, 4.0}) {
        Trajectory run{
            .name = "flat", .scale = {false, parameters, share, ratio}, .points = {}, .stable = {}, .final_loss = {}};
        for (double tokens = 1e6; tokens < 1e8; tokens *= 1.3)
          run.points.push_back({tokens, 2.0 + 300.0 / std::sqrt(tokens)});
        run.stable = run.points.back();
        runs.push_back(run);
      }
    }
  }
  const auto law = fit_law(runs, kFew);
  ScalingLaw::fields(law, [&](const char* name, double value) {
    if (std::string(name).ends_with("llama")) return;
    EXPECT_GT(value, 0.0) << name;
  });
  EXPECT_NEAR(law.loss(runs[0].scale, 1e9), 2.0 + 300.0 / std::sqrt(1e9), 0.02);
}

TEST(Fit, RefusesRunsThatCannotTellTheTermsApart) {
  const auto all = curves_of(known_law(), 0.0, 0.0, 1, 6);
  const auto only = [&](const auto& keep) {
    std::vector<Trajectory> runs;
    std::copy_if(all.begin(), all.end(), std::back_inserter(runs), keep);
    return runs;
  };
  EXPECT_THROW(fit_law(only([](const Trajectory& run) { return run.scale.baseline; }), kFew), Error);
  EXPECT_THROW(fit_law(only([](const Trajectory& run) { return run.scale.parameters == 1e6; }), kFew), Error);
  EXPECT_THROW(fit_law(only([](const Trajectory& run) { return run.scale.ratio == 4.0; }), kFew), Error);
  auto empty = all;
  empty[3].points.clear();
  EXPECT_THROW(fit_law(empty, kFew), Error);
}

TEST(DecayLaw, FindsItsExponents) {
  const auto runs = curves_of(known_law(), 0.0, 0.0, 1, 7);
  const auto law = fit_decay(runs);
  ASSERT_TRUE(law);
  EXPECT_NEAR(law->factor, 0.02, 1e-6);
  EXPECT_NEAR(law->loss_exponent, 1.5, 1e-6);
  EXPECT_NEAR(law->ratio_exponent, -0.1, 1e-6);
  EXPECT_NEAR(law->size_exponent, 0.05, 1e-6);
  EXPECT_NEAR(law->r_squared, 1.0, 1e-9);
  EXPECT_EQ(law->runs, 27);
}

TEST(DecayLaw, LeavesOutWhatDoesNotVaryAndNeedsFinishedDecays) {
  auto runs = curves_of(known_law(), 0.0, 0.0, 1, 8);
  std::erase_if(runs, [](const Trajectory& run) { return run.scale.baseline || run.scale.ratio != 4.0; });
  const auto law = fit_decay(runs);
  ASSERT_TRUE(law);
  EXPECT_EQ(law->ratio_exponent, 0.0);
  EXPECT_NEAR(law->gain(runs[2].scale, runs[2].stable.loss), runs[2].stable.loss - *runs[2].final_loss, 1e-9);
  for (auto& run : runs) run.final_loss.reset();
  EXPECT_FALSE(fit_decay(runs));
}

TEST(DecayLaw, NeedsMoreRunsThanNumbersToFind) {
  const auto all = curves_of(known_law(), 0.0, 0.0, 1, 11);
  // Sizes, shares and ratios vary: four numbers.
  std::vector<Trajectory> runs{all[0], all[4], all[11], all[25]};
  EXPECT_FALSE(fit_decay(runs));
  runs.push_back(all[16]);
  EXPECT_TRUE(fit_decay(runs));
  EXPECT_EQ(decays_without_gain(runs), 0);
  runs[2].final_loss = runs[2].stable.loss + 0.01;
  EXPECT_FALSE(fit_decay(runs));
  EXPECT_EQ(decays_without_gain(runs), 1);
}

TEST(DecayLaw, RefusesDecaysOfOtherLengths) {
  auto runs = curves_of(known_law(), 0.0, 0.0, 1, 12);
  runs[5].decay_fraction = 0.1;
  EXPECT_THROW(fit_decay(runs), Error);
  runs[5].final_loss.reset();
  EXPECT_TRUE(fit_decay(runs));
}

}  // namespace
}  // namespace dlcm
