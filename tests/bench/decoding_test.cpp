#include "bench/decoding.h"

#include "dlcm/infer/exported_model.h"
#include "tests/infer/tiny_model.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace dlcm {
namespace {

TEST(DecodingBench, MeasuresEveryModelContextAndNumberOfStreams) {
  const test::TemporaryDirectory directory;
  DecodingBench bench;
  for (const auto kind : {ModelKind::dlcm, ModelKind::llama}) {
    const auto config = test::tiny_config(kind);
    bench.models.push_back(directory / std::string(name_of(kind)));
    write_exported_model(bench.models.back(),
                         {.config = config, .tokenizer = load_tokenizer("bytes"), .boundary_quantiles = {}},
                         WeightFormat::int8, random_parameters(config, 1));
  }
  bench.contexts = {8, 200};
  bench.streams = {1, 3};
  bench.tokens = 8;
  bench.prompt = 24;
  bench.repeats = 1;
  const auto lines = bench_decoding(bench);
  ASSERT_EQ(lines.size(), 1u + 2u + 8u);
  EXPECT_GT(lines[0].at("read_bytes_per_second"), 1e8);
  for (size_t i = 1; i <= 2; ++i) {
    EXPECT_EQ(lines[i].at("model"), bench.models[i - 1]);
    EXPECT_GT(lines[i].at("tokens_per_second"), 0.0);
    EXPECT_GT(lines[i].at("first_token_seconds"), lines[i].at("load_seconds"));
  }
  for (size_t i = 3; i < lines.size(); ++i) {
    const auto& line = lines[i];
    EXPECT_EQ(line.at("model"), bench.models[(i - 3) % 2]);
    EXPECT_EQ(line.at("context"), i < 7 ? 8 : 200);
    EXPECT_EQ(line.at("streams"), (i - 3) / 2 % 2 == 0 ? 1 : 3);
    EXPECT_GT(line.at("tokens_per_second"), 0.0);
    EXPECT_GT(line.at("weight_bytes_per_token"), 0.0);
    EXPECT_GE(line.at("fastest_tokens_per_second"), line.at("slowest_tokens_per_second"));
  }
  // A token of one stream reads the caches of its context, bfloat16: of llama every key and value of the ids before it.
  const auto config = test::tiny_config(ModelKind::llama);
  const double row = 2.0 * 2.0 *
                     static_cast<double>(config.model.token.layers * config.model.token.kv_heads *
                                         config.model.token.stack(1).head_size());
  const double read = lines[8].at("cache_bytes_per_token");
  EXPECT_GT(read, 200.0 * row);
  EXPECT_LT(read, 230.0 * row);
  // Streams side by side share the weights.
  EXPECT_NEAR(lines[6].at("weight_bytes_per_token").get<double>() * 3.0,
              lines[4].at("weight_bytes_per_token").get<double>(), 1.0);
  EXPECT_NE(decoding_table(lines).find("3 streams"), std::string::npos);
}

}  // namespace
}  // namespace dlcm
