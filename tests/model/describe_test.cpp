// What `dlcm info --config` prints.
#include "dlcm/model/describe.h"

#include "dlcm/model/flops.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace dlcm {
namespace {

Config shipped(const std::string& name) { return load_config(DLCM_SOURCE_DIR "/configs/" + name + ".toml"); }

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(Describe, TableShowsTheReferenceModel) {
  const auto text = description_table(shipped("dlcm-2.3b"), "the name");
  EXPECT_TRUE(has_line(text, "the name")) << text;
  EXPECT_TRUE(
      has_line(text, "dlcm: 10 + 6 token layers of width 1536, 16 concept layers of width 3072, vocabulary 128815"))
      << text;
  EXPECT_TRUE(has_line(text, "at a context of 8192 tokens and 4 tokens per concept")) << text;
  EXPECT_TRUE(has_line(text, "backbone                     1.359 G                 729.8 M")) << text;
  EXPECT_TRUE(has_line(text, "total                        2.338 G                 2.686 G")) << text;
  EXPECT_TRUE(has_line(text, "P, backbone's share     70.0 % of the non-embedding parameters")) << text;
  EXPECT_TRUE(has_line(text, "cache per token         37.25 k values, 149 kB in fp32")) << text;
}

TEST(Describe, UnitsStandApartFromTheirNumbers) {
  const auto text = description_table(shipped("tiny"), "the name");
  EXPECT_TRUE(has_line(text, "cache per token         52 values, 208 B in fp32")) << text;
  EXPECT_NE(text.find(" AdamW = 534.8 kB, activations apart\n"), std::string::npos) << text;
}

TEST(Describe, TableOfLlamaHasNoConcepts) {
  const auto text = description_table(shipped("llama-1.3b"), "the name");
  EXPECT_TRUE(has_line(text, "llama: 32 layers of width 1536, vocabulary 128815")) << text;
  EXPECT_TRUE(has_line(text, "at a context of 8192 tokens")) << text;
  EXPECT_TRUE(has_line(text, "total                        1.302 G                 3.013 G")) << text;
  EXPECT_EQ(text.find("backbone"), std::string::npos) << text;
  EXPECT_EQ(text.find("concept"), std::string::npos) << text;
}

TEST(Describe, JsonHoldsTheCounts) {
  const auto config = shipped("small");
  const auto text = description_json(config, "configs/small.toml");
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const auto object = nlohmann::json::parse(text);
  const auto count = count_parameters(config);
  EXPECT_EQ(object.at("name"), "configs/small.toml");
  EXPECT_EQ(object.at("kind"), "dlcm");
  EXPECT_EQ(object.at("context"), 512);
  EXPECT_EQ(object.at("ratio"), 4.0);
  EXPECT_EQ(object.at("parameters").at("total"), count.total());
  EXPECT_EQ(object.at("parameters").at("non_embedding"), count.non_embedding());
  EXPECT_EQ(object.at("parameters").at("touched_per_token"), touched_parameters(count, 4.0));
  EXPECT_EQ(object.at("backbone_share"), count.backbone_share());
  const double forward = expected_flops_per_token(config).total();
  EXPECT_EQ(object.at("forward_flops_per_token").at("total"), forward);
  EXPECT_EQ(object.at("training_flops_per_token"), 3.0 * forward);
  EXPECT_EQ(object.at("cache_values_per_token"), cache_values_per_token(config, 4.0));
  EXPECT_EQ(object.at("cache_bytes_per_token"), 4.0 * cache_values_per_token(config, 4.0));
  EXPECT_EQ(object.at("training_memory").at("total_bytes"), 16 * count.total());
}

TEST(Describe, JsonComponentsSumToTheirTotals) {
  auto object = nlohmann::json::parse(description_json(shipped("small"), "small"));
  int64_t parameters = 0;
  double flops = 0.0;
  for (const auto* component :
       {"embedding", "encoder", "parser", "pooling", "backbone", "cross_attention", "decoder", "head"}) {
    parameters += object.at("parameters").at(component).get<int64_t>();
    flops += object.at("forward_flops_per_token").at(component).get<double>();
  }
  EXPECT_EQ(object.at("parameters").at("total"), parameters);
  EXPECT_DOUBLE_EQ(object.at("forward_flops_per_token").at("total").get<double>(), flops);
}

TEST(Describe, NameThatIsNotUtf8IsPrinted) {
  EXPECT_TRUE(nlohmann::json::accept(description_json(shipped("small"), "\xff.toml")));
}

TEST(Describe, UnknownVocabularyIsRefused) {
  EXPECT_THROW(description_table(Config{}, "defaults"), Error);
  EXPECT_THROW(description_json(Config{}, "defaults"), Error);
}

}  // namespace
}  // namespace dlcm
