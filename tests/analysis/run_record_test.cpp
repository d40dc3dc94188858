// What is read from run directories, whole and damaged.
#include "dlcm/analysis/run_record.h"

#include "dlcm/model/flops.h"
#include "tests/analysis/synthetic_run.h"

#include <gtest/gtest.h>

namespace dlcm::test {
namespace {

std::string refusal(const std::vector<std::string>& paths) {
  try {
    read_runs(paths);
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_status(), 2);
    return error.what();
  }
  return "no refusal";
}

TEST(RunRecord, HoldsWhatTrainingLogged) {
  const TemporaryDirectory directory;
  const SyntheticRun made{.steps = 100, .eval_every_steps = 50};
  write_synthetic_run(directory / "small", made);
  const auto run = read_run((directory / "small") + "/");
  EXPECT_EQ(run.name, "small");
  ASSERT_EQ(run.training.size(), 100u);
  ASSERT_EQ(run.validation.size(), 2u);
  EXPECT_EQ(run.training.back().tokens, 51200.0);
  EXPECT_EQ(run.training.back().mfu, 0.31);
  EXPECT_NEAR(run.validation.back().bits_per_byte, 2.3, 1e-9);
  EXPECT_GT(run.validation.back().ratio_p90, run.validation.back().ratio);
  EXPECT_EQ(run.problem, "");
  EXPECT_EQ(run.data_hash, "synthetic");
  EXPECT_FALSE(run.is_baseline());
  ASSERT_TRUE(run.training_flops_per_token());
  EXPECT_EQ(*run.training_flops_per_token(), 3.0 * expected_flops_per_token(synthetic_config(made)).total());
}

TEST(RunRecord, LeavesAHalfWrittenLastLineOut) {
  const TemporaryDirectory directory;
  write_text((directory / "run") + "/metrics.jsonl",
             "{\"step\":1,\"tokens\":8,\"loss\":2.5}\n{\"step\":2,\"tokens\":16,\"lo");
  const auto run = read_run(directory / "run");
  ASSERT_EQ(run.training.size(), 1u);
  EXPECT_EQ(run.training[0].loss, 2.5);
  EXPECT_TRUE(std::isnan(run.training[0].ratio));
}

TEST(RunRecord, NullNumbersAreUnknown) {
  const TemporaryDirectory directory;
  write_text((directory / "run") + "/metrics.jsonl", "{\"step\":1,\"tokens\":8,\"loss\":null,\"lr\":\"high\"}\n");
  const auto run = read_run(directory / "run");
  ASSERT_EQ(run.training.size(), 1u);
  EXPECT_TRUE(std::isnan(run.training[0].loss));
  EXPECT_TRUE(std::isnan(run.training[0].lr));
}

TEST(RunRecord, RunWithoutCheckpointHasAProblemAndNoConfiguration) {
  const TemporaryDirectory directory;
  write_synthetic_run(directory / "young", {.steps = 10, .checkpoint = false});
  const auto run = read_run(directory / "young");
  EXPECT_FALSE(run.config);
  EXPECT_FALSE(run.training_flops_per_token());
  EXPECT_EQ(run.checkpoint, "");
  EXPECT_NE(run.problem, "");
}

TEST(RunRecord, DamagedConfigurationIsAProblemOfItsRunOnly) {
  const TemporaryDirectory directory;
  write_synthetic_run(directory / "run", {.steps = 10});
  const auto config = (directory / "run") + "/step-00000010/config.toml";
  write_text(config, std::string(std::filesystem::file_size(config), '?'));
  const auto run = read_run(directory / "run");
  EXPECT_TRUE(has(run.problem, "config.toml"));
  EXPECT_FALSE(run.config);
  EXPECT_EQ(run.training.size(), 10u);
}

TEST(RunRecord, RefusesWhatIsNoRun) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(has(refusal({directory / "nowhere"}), "nowhere is not there"));
  write_text(directory / "file", "text");
  EXPECT_TRUE(has(refusal({directory / "file"}), "is no directory"));
  std::filesystem::create_directory(directory / "empty");
  EXPECT_TRUE(has(refusal({directory / "empty"}), "expected metrics.jsonl in"));
  write_text((directory / "fresh") + "/metrics.jsonl", "");
  EXPECT_TRUE(has(refusal({directory / "fresh"}), "holds no logged step yet"));
  write_text((directory / "damaged") + "/metrics.jsonl",
             "{\"step\":1,\"loss\":2}\nnonsense\n{\"step\":2,\"loss\":1}\n");
  EXPECT_TRUE(has(refusal({directory / "damaged"}), "line 2"));
}

TEST(RunRecord, RunsOfOneNameAreToldApartByTheDirectoriesAbove) {
  const TemporaryDirectory directory;
  for (const char* path : {"first/small", "second/small", "other"}) {
    write_synthetic_run(directory / path, {.steps = 2, .checkpoint = false});
  }
  const auto runs = read_runs({directory / "first/small", directory / "second/small", directory / "other"});
  EXPECT_EQ(runs[0].name, "first/small");
  EXPECT_EQ(runs[1].name, "second/small");
  EXPECT_EQ(runs[2].name, "other");
  EXPECT_TRUE(has(refusal({directory / "other", directory / "first/../other"}), "given twice"));
}

}  // namespace
}  // namespace dlcm::test
