// Sizes from one configuration, the optimum of a law, and what the verbs make of them.
#include "dlcm/scaling/plan.h"

#include "dlcm/io/files.h"
#include "tests/analysis/synthetic_run.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <numeric>

namespace dlcm::test {
namespace {

Config configuration(const std::string& name, const std::vector<std::string>& settings = {}) {
  return load_config(fmt::format("{}/configs/{}.toml", DLCM_SOURCE_DIR, name), settings);
}

RunScale scale_of(const Config& config) {
  const auto count = count_parameters(config);
  if (config.model.kind == ModelKind::llama) return {true, static_cast<double>(count.non_embedding()), 0.0, 1.0};
  return {false, static_cast<double>(count.non_embedding()), count.backbone_share(), config.parser.ratio};
}

ScalingLaw example_law() {
  ScalingLaw law;
  law.irreducible = 1.7;
  law.token = {60.0, 2e4, 0.38};
  law.concepts = {25.0, 4e4, 0.31};
  law.ratio_exponent = 0.35;
  law.data = {900.0, 3e5, 0.42};
  law.baseline = {80.0, 1e4, 0.36};
  return law;
}

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

// ---- curves, files, pages

// Run directories with losses of a law, as training logs them.
std::vector<std::string> write_runs(const TemporaryDirectory& directory, const ScalingLaw& law) {
  std::vector<std::string> runs;
  std::mt19937 generator(3);
  std::normal_distribution<double> noise;
  const auto write = [&](const std::string& base, const std::vector<std::string>& settings) {
    const auto config = configuration(base, settings);
    const auto scale = scale_of(config);
    runs.push_back(directory / fmt::format("run-{}", runs.size()));
    std::string metrics;
    const int64_t decay = config.train.steps * 8 / 10;
    double loss = 0.0;
    for (int64_t step = 1; step <= config.train.steps; ++step) {
      const auto tokens = static_cast<double>(step * config.train.tokens_per_step);
      if (step <= decay) loss = law.loss(scale, tokens);
      const double gained =
          step <= decay ? 0.0
                        : 0.1 * static_cast<double>(step - decay) / static_cast<double>(config.train.steps - decay);
      // Warm-up losses that no law holds.
      const double shown = step <= config.schedule.warmup_steps ? 9.0 : loss - gained + 0.02 * noise(generator);
      metrics += nlohmann::json{{"step", step}, {"tokens", tokens}, {"loss", shown}}.dump() + "\n";
      if (step % 20 == 0)
        metrics += nlohmann::json{{"step", step}, {"tokens", tokens}, {"val_loss", loss - gained}}.dump() + "\n";
    }
    write_text(runs.back() + "/metrics.jsonl", metrics);
    write_text(runs.back() + "/config.toml", to_toml(config));
  };
  for (const char* width : {"64", "128", "192"}) {
    for (const char* layers : {"1", "3"}) {
      for (const char* ratio : {"2.0", "6.0"}) {
        const auto wide = std::to_string(2 * std::stoi(width));
        write("small",
              {fmt::format("model.token.width={}", width), fmt::format("model.concept.layers={}", layers),
               fmt::format("model.concept.width={}", wide), fmt::format("parser.ratio={}", ratio), "train.steps=600"});
      }
    }
    write("small-llama", {fmt::format("model.token.width={}", width), "train.steps=600"});
  }
  return runs;
}

TEST(Curve, LeavesOutWarmUpAndDecayAndAveragesTheRest) {
  TemporaryDirectory directory;
  const auto law = example_law();
  const auto runs = write_runs(directory, law);
  for (const auto kind : {LossKind::training, LossKind::validation}) {
    const auto curve = read_curve(runs[5], kind);
    const auto& points = curve.trajectory.points;
    EXPECT_EQ(points.size(), kind == LossKind::training ? 24U : 22U);  // validated after steps 60, 80 ... 480
    EXPECT_GT(points.front().tokens, 50 * 4096.0);
    EXPECT_LE(points.back().tokens, 480 * 4096.0);
    const auto scale = scale_of(curve.config);
    EXPECT_EQ(curve.trajectory.scale.parameters, scale.parameters);
    EXPECT_EQ(curve.trajectory.scale.ratio, scale.ratio);
    // Sixteen losses or more to a point, each with a noise of 0.02.
    for (const auto& point : points) EXPECT_NEAR(point.loss, law.loss(scale, point.tokens), 0.02);
    for (size_t i = 1; i < points.size(); ++i)
      EXPECT_GE(points[i].tokens - points[i - 1].tokens, (kind == LossKind::training ? 16 : 20) * 4096.0);
    EXPECT_NEAR(curve.trajectory.stable.loss, law.loss(scale, curve.trajectory.stable.tokens), 0.01);
    EXPECT_NEAR(curve.trajectory.stable.tokens, 0.95 * 480 * 4096, 0.03 * 480 * 4096);
    ASSERT_TRUE(curve.trajectory.final_loss);
    EXPECT_NEAR(*curve.trajectory.final_loss, law.loss(scale, 480 * 4096.0) - 0.1, 0.02);
  }
}

TEST(Curve, NamesWhatIsMissing) {
  TemporaryDirectory directory;
  EXPECT_TRUE(has(message_of<Error>([&] { read_curve(directory / "nowhere", LossKind::training); }), "metrics.jsonl"));
  write_text(directory / "short/metrics.jsonl", "{\"step\":1,\"tokens\":512,\"loss\":5.0}\n");
  write_text(directory / "short/config.toml", to_toml(configuration("tiny")));
  EXPECT_TRUE(has(message_of<Error>([&] { read_curve(directory / "short", LossKind::training); }), "train longer"));
  auto unresolved = configuration("tiny");
  unresolved.model.vocabulary = 0;
  write_text(directory / "short/config.toml", to_toml(unresolved));
  const auto message = message_of<Error>([&] { read_curve(directory / "short", LossKind::training); });
  EXPECT_TRUE(has(message, directory / "short"));
  EXPECT_TRUE(has(message, "model.vocabulary"));
}

TEST(Curve, TakesTheConfigurationOfTheNewestCheckpoint) {
  TemporaryDirectory directory;
  const auto run = directory / "run";
  write_synthetic_run(run, {});
  auto outdated = synthetic_config({});
  outdated.parser.ratio = 8.0;
  write_text(run + "/config.toml", to_toml(outdated));
  EXPECT_EQ(read_curve(run, LossKind::training).trajectory.scale.ratio, synthetic_config({}).parser.ratio);
  // Without one that of the directory, unless the run went on past it.
  write_synthetic_run(directory / "other", {.checkpoint = false});
  write_text(directory / "other/config.toml", to_toml(outdated));
  EXPECT_EQ(read_curve(directory / "other", LossKind::training).trajectory.scale.ratio, 8.0);
  outdated.train.steps = 400;
  write_text(directory / "other/config.toml", to_toml(outdated));
  const auto message = message_of<Error>([&] { read_curve(directory / "other", LossKind::training); });
  EXPECT_TRUE(has(message, "train.steps = 400"));
}

TEST(Curve, RefusesLossesThatNoTrainingLogs) {
  TemporaryDirectory directory;
  write_synthetic_run(directory / "run", {.steps = 100, .checkpoint = false});
  write_text(directory / "run/config.toml", to_toml(synthetic_config({.steps = 100})));
  const auto sound = read_file(directory / "run/metrics.jsonl");
  const auto read_with = [&](const std::string& line) {
    write_text(directory / "run/metrics.jsonl", line + "\n" + sound);
    return read_curve(directory / "run", LossKind::training);
  };
  // What a training does log, before the warm-up's end, changes nothing.
  const auto stable = read_with("{\"step\":0}").trajectory.stable.loss;
  EXPECT_EQ(read_with("{\"step\":0,\"tokens\":1,\"loss\":null}").trajectory.stable.loss, stable);
  EXPECT_EQ(read_with("{\"step\":0,\"tokens\":1,\"loss\":5.5}").trajectory.stable.loss, stable);
  for (const auto& [line, part] : std::vector<std::pair<std::string, std::string>>{
           {"{\"step\":0,\"tokens\":1,\"loss\":-1.0}", "loss above 0, found -1.0"},
           {"{\"step\":0,\"tokens\":1,\"loss\":\"low\"}", "loss above 0, found \"low\""},
           {"{\"step\":0,\"tokens\":0,\"loss\":5.5}", "tokens above 0, found 0"},
           {"{\"step\":0,\"loss\":5.5}", "tokens above 0, found none"},
           {"{\"step\":null,\"tokens\":1,\"loss\":5.5}", "step above -1, found null"}}) {
    const auto message = message_of<Error>([&] { read_with(line); });
    EXPECT_TRUE(has(message, part)) << line;
    EXPECT_TRUE(has(message, "run/metrics.jsonl, line 1")) << line;
  }
  // Tokens that do not rise.
  const auto message = message_of<Error>([&] { read_with("{\"step\":0,\"tokens\":1e9,\"loss\":5.5}"); });
  EXPECT_TRUE(has(message, "line 2: expected a finite tokens above 1e+09"));
}

TEST(Curve, TheDecayLawPredictsTheFinalLossOfItsRuns) {
  TemporaryDirectory directory;
  const auto law = example_law();
  std::vector<Trajectory> runs;
  for (const auto& run : write_runs(directory, law)) runs.push_back(read_curve(run, LossKind::validation).trajectory);
  const auto decay = fit_decay(runs);
  ASSERT_TRUE(decay);
  EXPECT_EQ(decay->decay_fraction, 0.2);
  for (const auto& run : runs) {
    if (run.scale.baseline) continue;
    EXPECT_NEAR(loss_after_decay(law, *decay, run.scale, 600 * 4096.0), *run.final_loss, 0.015) << run.name;
  }
}

TEST(FitFile, SurvivesWritingAndReadingAndPlansFromIt) {
  TemporaryDirectory directory;
  std::vector<RunCurve> curves;
  for (const auto& run : write_runs(directory, example_law())) curves.push_back(read_curve(run, LossKind::training));
  const auto fit = fit_curves(curves, {.loss = LossKind::training, .starts = 12, .samples = 6, .seed = 1});
  EXPECT_EQ(fit.runs, 15);
  EXPECT_EQ(fit.baseline_runs, 3);
  EXPECT_GT(fit.quality.r_squared, 0.98);
  EXPECT_EQ(fit.left_out.size(), 12U);
  EXPECT_EQ(fit.config.model.token.width, 192);
  ASSERT_TRUE(fit.decay);
  const auto path = directory / "fit.json";
  write_text(path, to_json(fit).dump());
  const auto again = load_fit(path);
  EXPECT_EQ(to_json(again).dump(), to_json(fit).dump());

  const PlanRequest request{.flops = 1e15, .ratio = 4.0, .cluster = Cluster{2, 1e12, 8e9, 0.5}};
  const auto plan = make_plan(again, again.config, again.baseline_config, request);
  EXPECT_TRUE(plan.needs);
  EXPECT_EQ(plan.shares.size(), 3U * 9U);
  EXPECT_EQ(plan.savings.size(), 11U);
  const auto json = to_json(plan);
  EXPECT_LE(json["loss_interval"][0].get<double>(), json["loss"].get<double>() + 0.5);
  const auto written = parse_config(json["config"].get<std::string>(), "plan");
  EXPECT_EQ(written.train.steps, plan.config.train.steps);
  EXPECT_TRUE(plan.loss_after_decay);
  for (const auto& page : {chart_page(plan_page(plan)), chart_page(fit_page(again, curves))}) {
    EXPECT_TRUE(has(page, "</html>"));
    EXPECT_FALSE(has(page, "{{"));
  }
  EXPECT_TRUE(has(plan_text(plan), "device-hours"));
  EXPECT_TRUE(has(fit_text(again), "with P and R"));
  EXPECT_TRUE(to_json(again)["intervals"].contains("gamma"));
  EXPECT_EQ(to_json(again)["baseline_parameters"].size(), 2U);

  // The decay law says nothing of decays of another length.
  auto longer = again.config;
  longer.schedule.decay_fraction = 0.5;
  EXPECT_FALSE(make_plan(again, longer, {}, request).loss_after_decay);

  // A fit of which nothing could be left out.
  auto bare = again;
  bare.left_out.clear();
  bare.plain_left_out_error.reset();
  write_text(path, to_json(bare).dump());
  const auto bare_again = load_fit(path);
  EXPECT_EQ(to_json(bare_again).dump(), to_json(bare).dump());
  EXPECT_TRUE(to_json(bare_again)["left_out_error"].is_null());
  EXPECT_TRUE(has(fit_text(bare_again), "none"));
  EXPECT_FALSE(has(chart_page(fit_page(bare_again, curves)), "1e+300"));

  // Far beyond what was fitted it says so.
  EXPECT_TRUE(has(plan_text(make_plan(again, again.config, again.baseline_config, {.flops = 1e21, .ratio = 16.0})),
                  "lies outside what was fitted"));
  EXPECT_THROW(make_plan(again, again.config, {}, {.flops = 1e3}), Error);
  EXPECT_THROW(make_plan(again, again.config, {}, {.flops = 1e15, .ratio = 1.0}), Error);
}

TEST(FitFile, RefusesRunsThatOneLawDoesNotHold) {
  TemporaryDirectory directory;
  std::vector<RunCurve> curves;
  for (const auto& run : write_runs(directory, example_law())) curves.push_back(read_curve(run, LossKind::validation));
  const auto refusal = [&](const auto& change, const std::string& part) {
    auto changed = curves;
    change(changed[3].config);
    const auto message = message_of<Error>([&] { fit_curves(changed, {.starts = 1, .samples = 0}); });
    EXPECT_TRUE(has(message, part));
    EXPECT_TRUE(has(message, "run-3"));
  };
  refusal([](Config& config) { config.model.vocabulary = 5000; }, "model.vocabulary");
  refusal([](Config& config) { config.train.context = 256; }, "train.context");
  refusal([](Config& config) { config.model.concepts.layers = 0; }, "model.concept.layers = 0");
  refusal([](Config& config) { config.parser.rule = BoundaryRule::cosine; }, "cosine");
  refusal([](Config& config) { config.parser.rule = BoundaryRule::whitespace; }, "whitespace");
}

TEST(FitFile, RefusesOtherFiles) {
  TemporaryDirectory directory;
  for (const char* text : {"", "[]", "{\"format\":1}", "{\"format\":2}", "no json"}) {
    write_text(directory / "fit.json", text);
    EXPECT_TRUE(has(message_of<Error>([&] { load_fit(directory / "fit.json"); }), "dlcm fit")) << text;
  }
}

}  // namespace
}  // namespace dlcm::test
