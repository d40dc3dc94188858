#include "bench/evaluation.h"

#include "tests/infer/tiny_model.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace dlcm {
namespace {

TEST(BenchEvaluation, EveryWayGivesTheSameScores) {
  const test::TemporaryDirectory directory;
  auto config = test::tiny_config(ModelKind::dlcm);
  config.train.context = config.train.micro_batch_tokens = config.train.tokens_per_step = 2048;
  save_checkpoint(directory / "model", test::checkpoint_of(test::tiny_model(config)), 1);
  const auto lines = bench_evaluation({.model = directory / "model",
                                       .tasks = {"piqa", "mmlu"},
                                       .items = DLCM_SOURCE_DIR "/tests/eval/items",
                                       .shots = 1,
                                       .limit = 5,
                                       .repeats = 1});
  ASSERT_EQ(lines.size(), 8U);  // two tasks, four ways
  for (const auto& line : lines) {
    EXPECT_EQ(line.at("items"), line.at("task") == "piqa" ? 4 : 5);
    EXPECT_GT(line.at("fastest_seconds"), 0.0);
    EXPECT_LE(line.at("fastest_seconds"), line.at("seconds"));
    EXPECT_LE(line.at("seconds"), line.at("slowest_seconds"));
    EXPECT_EQ(line.at("largest_difference"), 0.0);
    EXPECT_GT(line.at("items_per_second"), 0.0);
  }
  EXPECT_EQ(lines[0].at("speedup"), 1.0);
  const auto table = evaluation_bench_table(lines);
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 9);
}

}  // namespace
}  // namespace dlcm
