// What is read from runs, what a fit of them keeps, and the plan made from its file.
#include "dlcm/scaling/trajectories.h"

#include "dlcm/io/files.h"
#include "tests/analysis/synthetic_run.h"
#include "tests/scaling/example_law.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace dlcm::test {
namespace {

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
  for (const char* text : {"", "[]", "{\"format\":2}", "{\"format\":3}", "no json"}) {
    write_text(directory / "fit.json", text);
    EXPECT_TRUE(has(message_of<Error>([&] { load_fit(directory / "fit.json"); }), "dlcm fit")) << text;
  }
}

}  // namespace
}  // namespace dlcm::test
