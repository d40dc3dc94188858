#include "bench/serving.h"

#include "tests/infer/tiny_model.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace dlcm {
namespace {

TEST(ServingBench, MeasuresEveryNumberOfStreams) {
  const test::TemporaryDirectory directory;
  save_checkpoint(directory / "tiny", test::checkpoint_of(test::tiny_model(test::tiny_config(ModelKind::dlcm))), 1);
  const auto lines = bench_serving(
      {.models = {directory / "tiny"}, .streams = {1, 3}, .prompt = 9, .tokens = 5, .repeats = 2, .threads = 1});
  ASSERT_EQ(lines.size(), 2u);
  for (const auto& line : lines) {
    EXPECT_GT(line.at("tokens_per_second").get<double>(), 0.0);
    EXPECT_LE(line.at("token_seconds_p50").get<double>(), line.at("token_seconds_p99").get<double>());
    EXPECT_GT(line.at("first_token_seconds_p95").get<double>(), 0.0);
    EXPECT_GE(line.at("tokens_per_concept").get<double>(), 1.0);
  }
  EXPECT_EQ(lines[0].at("gain"), 1.0);
  EXPECT_EQ(lines[1].at("streams"), 3);
  const auto table = serving_table(lines);
  EXPECT_NE(table.find("tiny"), std::string::npos);
}

}  // namespace
}  // namespace dlcm
