// The benches at sizes that take no time: what they count, and that everything they promise is there.
#include "bench/attention.h"
#include "bench/timing.h"
#include "bench/tokenization.h"
#include "bench/training.h"
#include "dlcm/model/flops.h"
#include "tests/support/gradients.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <set>
#include <thread>

namespace dlcm {
namespace {

using Lines = std::vector<nlohmann::json>;

void expect_times(const nlohmann::json& line) {
  const double median = line.at("seconds"), fastest = line.at("fastest_seconds"), slowest = line.at("slowest_seconds");
  EXPECT_GT(fastest, 0.0);
  EXPECT_LE(fastest, median);
  EXPECT_LE(median, slowest);
}

TEST(TimeInTurns, WarmsUpOnceAndTakesTheMedianOfTheRounds) {
  std::string order;
  int calls = 0;
  const auto timings = time_in_turns({[&] { order += 'a'; },
                                      [&] {
                                        order += 'b';
                                        // One slow round of five, and a slow first call, which does not count.
                                        if (++calls == 1 || calls == 3)
                                          std::this_thread::sleep_for(std::chrono::milliseconds(30));
                                      }},
                                     5);
  EXPECT_EQ(order, "abababababab");
  ASSERT_EQ(timings.size(), 2U);
  EXPECT_GE(timings[1].slowest, 0.03);
  EXPECT_LT(timings[1].median, 0.03);
}

TEST(BenchAttention, CountsTwoProductsForwardAndSevenInAllOverVisiblePairs) {
  const test::Threads one(1);
  const AttentionBench bench{.lengths = {60}, .heads = 4, .kv_heads = 2, .head_size = 8, .repeats = 1};
  const Lines lines = bench_attention(bench);
  std::set<std::string> methods;
  for (const auto& line : lines) {
    expect_times(line);
    methods.insert(line.at("method"));
    // 60 tokens: a place every 6 gives 6 (1 + 2 + ... + 10) pairs, causal 60 61 / 2.
    const bool backward = line.at("pass") == "forward and backward";
    const double pairs = line.at("ranges") == "every 6" ? 330.0 : 1830.0;
    if (line.at("ranges") != "R = 4") {
      EXPECT_EQ(line.at("flops"), (backward ? 7 : 2) * 2 * pairs * 4 * 8) << line;
    }
    EXPECT_NEAR(line.at("share_of_peak").get<double>(),
                line.at("flops").get<double>() / line.at("seconds").get<double>() /
                    line.at("peak_flops_per_second").get<double>(),
                1e-12);
    if (line.at("method") == "range attention") {
      EXPECT_EQ(line.at("times_range_attention"), 1.0);
    }
  }
  EXPECT_EQ(methods, (std::set<std::string>{"range attention", "replication + LibTorch flash", "LibTorch masked",
                                            "LibTorch flash"}));
  EXPECT_EQ(lines.size(), 2U * (3 + 3 + 2));
  EXPECT_NE(attention_table(lines).find("every 6"), std::string::npos);
}

TEST(BenchAttention, LeavesOutMasksThatAreTooLarge) {
  const test::Threads one(1);
  const auto lines =
      bench_attention({.lengths = {60}, .heads = 1, .kv_heads = 1, .head_size = 8, .repeats = 1, .largest_mask = 599});
  for (const auto& line : lines) EXPECT_NE(line.at("method"), "LibTorch masked") << line;
}

TEST(BenchAttention, AloneMeasuresNoPeer) {
  const test::Threads one(1);
  const auto lines =
      bench_attention({.lengths = {30}, .heads = 1, .kv_heads = 1, .head_size = 8, .repeats = 1, .alone = true});
  EXPECT_EQ(lines.size(), 3U);
  for (const auto& line : lines) EXPECT_EQ(line.at("method"), "range attention");
}

TEST(BenchTraining, HasEveryComponentOfBothKinds) {
  const test::Threads one(1);
  for (const std::string name : {"tiny", "tiny-llama"}) {
    const auto config = load_config(DLCM_SOURCE_DIR "/configs/" + name + ".toml", {"train.precision=fp32"});
    const Lines lines = bench_training(config, name, 1);
    std::set<std::string> components;
    double flops = 0.0;
    for (const auto& line : lines) {
      expect_times(line);
      components.insert(line.at("component"));
      if (line.at("component") != "step") flops += line.at("flops").get<double>();
    }
    EXPECT_EQ(components, name == "tiny"
                              ? (std::set<std::string>{"step", "encoder", "parser", "pooling", "backbone",
                                                       "cross-attention", "decoder", "head", "optimiser", "packing", "first pass"})
                              : (std::set<std::string>{"step", "decoder", "head", "optimiser"}));
    const auto& step = lines.front();
    EXPECT_EQ(step.at("tokens"), config.train.micro_batch_tokens);
    EXPECT_NEAR(step.at("flops").get<double>(), flops, 1e-6 * flops);
    EXPECT_EQ(step.at("parameters"), count_parameters(config).total());
    EXPECT_NE(training_table(lines).find("tokens/s"), std::string::npos);
  }
}

TEST(BenchTokenization, CountsWhatItEncodes) {
  const std::string path = DLCM_SOURCE_DIR "/tests/bench/bench_test.cpp";
  const Lines lines = bench_tokenization({.tokenizer = "bytes", .texts = {path, path}, .threads = 2, .repeats = 2});
  ASSERT_EQ(lines.size(), 2U);
  for (const auto& line : lines) {
    expect_times(line);
    EXPECT_EQ(line.at("text"), path);
    EXPECT_EQ(line.at("threads"), 2);
    EXPECT_EQ(line.at("tokens"), line.at("bytes")) << "a token is a byte";
    EXPECT_EQ(line.at("documents"), 2) << "the second begins behind 4096 bytes";
    EXPECT_NEAR(line.at("megabytes_per_second").get<double>() * line.at("seconds").get<double>(),
                line.at("bytes").get<double>() / 1e6, 1e-9);
    EXPECT_GT(line.at("copy_megabytes_per_second").get<double>(), 0.0);
  }
  EXPECT_NE(tokenization_table(lines).find("MB/s"), std::string::npos);
}

}  // namespace
}  // namespace dlcm
