// Sizes from one configuration, the optimum of a law, and what a plan says of savings and machines.
#include "dlcm/scaling/plan.h"

#include "dlcm/io/files.h"
#include "tests/analysis/synthetic_run.h"
#include "tests/scaling/example_law.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace dlcm::test {
namespace {

TEST(Family, CountsItsOwnBaseAsTheModelDoes) {
  for (const char* name : {"small", "small-llama", "base", "medium", "dlcm-2.3b"}) {
    const auto config = configuration(name);
    const Family family(config);
    const auto scale = scale_of(config);
    const double counted = kTrainingFlopsPerForward * expected_flops_per_token(config).total();
    EXPECT_NEAR(family.training_flops_per_token(scale) / counted, 1.0, 1e-9) << name;
    EXPECT_NEAR(family.total_parameters(scale) / static_cast<double>(count_parameters(config).total()), 1.0, 1e-9)
        << name;
  }
}

TEST(Family, BuildsModelsNearWhatIsAskedFor) {
  for (const char* name : {"small", "base"}) {
    const Family family(configuration(name));
    for (const double parameters : {2e6, 2e7, 3e8, 5e9}) {
      for (const double share : {0.3, 0.6, 0.8}) {
        const RunScale asked{false, parameters, share, 4.0};
        const auto config = family.nearest(asked);
        const auto built = scale_of(config);
        EXPECT_NEAR(built.parameters / parameters, 1.0, 0.2) << name << " " << parameters << " " << share;
        EXPECT_NEAR(built.backbone_share, share, 0.08) << name << " " << parameters;
        const double counted = kTrainingFlopsPerForward * expected_flops_per_token(config).total();
        EXPECT_NEAR(family.training_flops_per_token(built) / counted, 1.0, 0.15)
            << name << " " << parameters << " " << share;
        EXPECT_EQ(config.model.token.stack(0).head_size(), family.base().model.token.stack(0).head_size());
        EXPECT_GT(config.mup.base_token_width, 0);
      }
    }
  }
  const Family baseline(configuration("small-llama"));
  EXPECT_NEAR(scale_of(baseline.nearest({true, 3e7, 0.0, 1.0})).parameters / 3e7, 1.0, 0.15);
}

TEST(Family, TheModelOfTheEntropyRuleStaysAsItIs) {
  const std::vector<std::string> rule{"parser.rule=entropy", "parser.entropy.model=small-run"};
  auto settings = rule;
  for (const char* setting : {"width=64", "base_width=64", "layers=2", "feed_forward=192", "heads=2", "kv_heads=2"}) {
    settings.push_back(std::string("parser.entropy.") + setting);
  }
  const Family with(configuration("small", settings)), without(configuration("small", rule));
  const auto added = [&](double parameters) {
    const RunScale scale{false, parameters, 0.6, 4.0};
    return with.training_flops_per_token(scale) - without.training_flops_per_token(scale);
  };
  EXPECT_GT(added(1e6), 1e6);
  EXPECT_NEAR(added(1e9) / added(1e6), 1.0, 1e-6);
}

TEST(Family, RefusesAModelWithoutBackbone) { EXPECT_THROW(Family(configuration("small-no-backbone")), Error); }

// No size and share on a fine grid of the same budget is better.
TEST(Planner, FindsTheBestSizeAndShare) {
  const Family family(configuration("small"));
  const auto law = example_law();
  for (const double flops : {1e14, 1e17, 1e20}) {
    for (const double ratio : {2.0, 4.0, 8.0}) {
      const auto best = best_share(law, family, flops, ratio);
      EXPECT_NEAR(best.tokens * family.training_flops_per_token(best.scale) / flops, 1.0, 1e-6);
      for (double share = 0.05; share < 1.0; share += 0.1) {
        for (double parameters = best.scale.parameters / 30; parameters < best.scale.parameters * 30;
             parameters *= 1.2) {
          const RunScale scale{false, parameters, share, ratio};
          EXPECT_GE(law.loss(scale, flops / family.training_flops_per_token(scale)), best.loss - 1e-6);
        }
      }
    }
  }
}

TEST(Planner, MoreComputeIsBetterAndWantsLargerModels) {
  const Family family(configuration("small"));
  auto last = best_share(example_law(), family, 1e13, 4.0);
  for (double flops = 1e14; flops < 1e22; flops *= 10) {
    const auto next = best_share(example_law(), family, flops, 4.0);
    EXPECT_LT(next.loss, last.loss);
    EXPECT_GT(next.scale.parameters, last.scale.parameters);
    EXPECT_GT(next.tokens, last.tokens);
    last = next;
  }
}

TEST(Planner, SavingIsWhatThePlainTransformerNeedsMore) {
  const Family family(configuration("small")), baseline(configuration("small-llama"));
  const auto law = example_law();
  const PlannerInput input{law, {}, &family, &baseline};
  const auto saving = saving_at(input, 1e17, 4.0);
  ASSERT_TRUE(saving.saved());
  EXPECT_NEAR(saving.baseline.optimum.loss, saving.optimum.loss, 1e-4);
  EXPECT_NEAR(best_size(law, baseline, saving.baseline.flops, {.baseline = true}).loss, saving.optimum.loss, 1e-4);
  EXPECT_NEAR(*saving.saved(), 1.0 - 1e17 / saving.baseline.flops, 1e-12);
  auto hopeless = law;
  hopeless.baseline = {5.0, 1.0, 0.02};
  const auto never = saving_at({hopeless, {}, &family, &baseline}, 1e17, 4.0);
  EXPECT_FALSE(never.saved());
  EXPECT_EQ(never.baseline.kind, BaselineNeed::Kind::more);
  auto bad = law;
  bad.token = {100.0, 1.0, 0.001};
  const auto at_once = saving_at({bad, {}, &family, &baseline}, 1e17, 4.0);
  EXPECT_FALSE(at_once.saved());
  EXPECT_EQ(at_once.baseline.kind, BaselineNeed::Kind::less);
}

TEST(Planner, IntervalsHoldTheSpreadOfTheLaws) {
  const Family family(configuration("small"));
  PlannerInput input{example_law(), {}, &family, nullptr};
  EXPECT_FALSE(plan_optimum(input, 1e16, 4.0).loss_interval);
  for (int i = 0; i <= 20; ++i) {
    auto law = example_law();
    law.irreducible += 0.01 * (i - 10);
    input.bootstrap.push_back(law);
  }
  const auto planned = plan_optimum(input, 1e16, 4.0);
  EXPECT_NEAR(planned.loss_interval->low, planned.loss - 0.09, 1e-6);
  EXPECT_NEAR(planned.loss_interval->high, planned.loss + 0.09, 1e-6);
}

// What may be lost by training as planned, not what a law would reach with a plan of its own.
TEST(Planner, TheLossIntervalIsOfThePlannedTraining) {
  const Family family(configuration("small"));
  PlannerInput input{example_law(), {}, &family, nullptr};
  for (int i = 0; i <= 20; ++i) {
    auto law = example_law();
    law.concepts.exponent += 0.01 * (i - 10);
    input.bootstrap.push_back(law);
  }
  const auto planned = plan_optimum(input, 1e16, 4.0);
  std::vector<double> losses;
  for (const auto& law : input.bootstrap) losses.push_back(law.loss(planned.scale, planned.tokens));
  const auto expected = interval_of(losses);
  EXPECT_DOUBLE_EQ(planned.loss_interval->low, expected.low);
  EXPECT_DOUBLE_EQ(planned.loss_interval->high, expected.high);
}

// A fit that says no more than its law.
FitFile fit_of(const ScalingLaw& law) {
  FitFile fit;
  fit.law = law;
  for (auto* range : {&fit.parameters, &fit.tokens, &fit.share, &fit.ratio}) {
    range->add(1e-3);
    range->add(1e30);
  }
  return fit;
}

TEST(Planner, SpendsTheBudgetOrSaysThatItIsTooSmall) {
  const auto base = configuration("small");
  const auto fit = fit_of(example_law());
  for (double flops = 1e9; flops < 2e18; flops *= 10) {
    Plan plan;
    try {
      plan = make_plan(fit, base, {}, {.flops = flops});
    } catch (const Error& error) {
      EXPECT_TRUE(has(error.what(), "raise the budget"));
      EXPECT_LT(flops, 5e14);
      continue;
    }
    EXPECT_GT(flops, 2e9);
    const double step = kTrainingFlopsPerForward * expected_flops_per_token(plan.config).total() *
                        static_cast<double>(plan.config.train.tokens_per_step);
    EXPECT_NEAR(static_cast<double>(plan.config.train.steps) * step, flops, 0.5001 * step) << flops;
    EXPECT_LE(scale_of(plan.config).parameters, 1.5 * plan.best.scale.parameters) << flops;
    EXPECT_GE(plan.best.tokens, static_cast<double>(base.train.tokens_per_step)) << flops;
  }
}

TEST(Planner, RefusesAConfigurationOfTheOtherKind) {
  const auto fit = fit_of(example_law());
  const auto dlcm = configuration("small"), llama = configuration("small-llama");
  EXPECT_TRUE(has(message_of<Error>([&] { make_plan(fit, llama, {}, {.flops = 1e16}); }), "--config"));
  EXPECT_TRUE(has(message_of<Error>([&] { make_plan(fit, dlcm, dlcm, {.flops = 1e16}); }), "--baseline-config"));
}

TEST(Planner, SaysWhereTheBestShareIsAtTheEndOfTheSearch) {
  auto law = example_law();
  EXPECT_TRUE(make_plan(fit_of(law), configuration("small"), {}, {.flops = 1e17}).warnings.empty());
  law.concepts.scale = 1e-9;
  const auto plan = make_plan(fit_of(law), configuration("small"), {}, {.flops = 1e17});
  ASSERT_EQ(plan.warnings.size(), 1U);
  EXPECT_TRUE(has(plan.warnings[0], "the end of what is searched"));
}

TEST(Planner, MarksSavingsOutsideWhatWasFitted) {
  auto fit = fit_of(example_law());
  const auto llama = configuration("small-llama");
  const auto marked = [&] {
    const auto plan = make_plan(fit, configuration("small"), llama, {.flops = 1e17});
    return std::count_if(plan.savings.begin(), plan.savings.end(), [](const Saving& one) { return one.extrapolates; });
  };
  for (auto* range : {&fit.baseline_parameters, &fit.baseline_tokens}) {
    range->add(1e-3);
    range->add(1e30);
  }
  EXPECT_EQ(marked(), 0);
  fit.baseline_tokens = {};
  EXPECT_EQ(marked(), 11);
}

TEST(Planner, SaysWhatMachinesItTakes) {
  const auto config = configuration("small");
  Cluster cluster{.devices = 8, .peak_flops = 1e15, .memory_bytes = 80e9, .mfu = 0.4};
  auto needs = needs_of(config, 1e20, cluster);
  EXPECT_NEAR(needs.device_hours, 1e20 / (0.4e15 * 3600), 1e-9);
  EXPECT_NEAR(needs.hours, needs.device_hours / 8, 1e-12);
  EXPECT_EQ(needs.state_bytes, 16.0 * static_cast<double>(count_parameters(config).total()));
  EXPECT_TRUE(needs.fits);
  EXPECT_EQ(needs.least_devices, 1);
  // 16 bytes a parameter, of which each device has the weights' 4: room for 16 / 2.2 - 4 = 3.27 of the other 12.
  cluster.memory_bytes = needs.activation_bytes + needs.state_bytes / 2.2;
  needs = needs_of(config, 1e20, cluster);
  EXPECT_FALSE(needs.fits);
  EXPECT_EQ(needs.least_devices, 4);
  auto sharded = config;
  sharded.dist.sharding = Sharding::gradients;
  cluster.devices = 4;
  EXPECT_TRUE(needs_of(sharded, 1e20, cluster).fits);
  cluster.devices = 3;
  EXPECT_FALSE(needs_of(sharded, 1e20, cluster).fits);
  // Less than the weights.
  cluster.memory_bytes = needs.activation_bytes + needs.state_bytes / 4.1;
  EXPECT_EQ(needs_of(config, 1e20, cluster).least_devices, 0);
  auto checkpointed = config;
  checkpointed.train.activation_checkpointing = true;
  EXPECT_LT(activation_bytes(checkpointed, 4096), 0.6 * activation_bytes(config, 4096));
  cluster.memory_bytes = needs.activation_bytes / 2;
  EXPECT_EQ(needs_of(config, 1e20, cluster).least_devices, 0);
}

TEST(Planner, ReadsAClusterAndNamesWhatIsWrong) {
  TemporaryDirectory directory;
  const auto path = directory / "cluster.toml";
  write_text(
      path,
      "[cluster]\ndevices = 16\npeak_tflops = 989.0\nmemory_gib = 80\nmfu = 0.35\nlink_gbit = 400\nlatency_us = 8\n");
  const auto cluster = load_cluster(path);
  EXPECT_EQ(cluster.devices, 16);
  EXPECT_DOUBLE_EQ(cluster.peak_flops, 989e12);
  EXPECT_DOUBLE_EQ(cluster.flops_in(1.0), 989e12 * 0.35 * 3600);
  EXPECT_DOUBLE_EQ(cluster.link_bytes_per_second, 50e9);
  EXPECT_DOUBLE_EQ(cluster.latency_seconds, 8e-6);
  EXPECT_EQ(cluster.slowest_to_mean, 1.0);
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"[cluster]\ndevices = 16\npeak_tflops = 989.0\nmemory_gib = 80\n", "cluster.mfu"},
           {"[cluster]\ndevices = 16\npeak_tflops = 989.0\nmemory_gib = 80\nmfu = 35\n", "cluster.mfu"},
           {"[cluster]\ndevices = 1\npeak_tflops = 1\nmemory_gib = 1\nmfu = 1\nlink_gbit = -1\n", "cluster.link_gbit"},
           {"[cluster]\ndevices = 2.5\npeak_tflops = 1\nmemory_gib = 1\nmfu = 1\n", "whole number"},
           {"[cluster]\ndevice = 16\n", "nearest known one is cluster.devices"},
           {"[machines]\n", "[cluster]"},
           {"[cluster\n", "not a readable TOML file"}}) {
    write_text(path, text);
    EXPECT_TRUE(has(message_of<Error>([&] { load_cluster(path); }), part)) << text;
  }
  EXPECT_TRUE(has(message_of<Error>([&] { load_cluster(directory / "missing.toml"); }), "missing.toml"));
}

}  // namespace
}  // namespace dlcm::test
