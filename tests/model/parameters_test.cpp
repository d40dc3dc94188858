// The weights of a model: how many, whose, and what they begin as.
#include "dlcm/model/parameters.h"

#include "dlcm/model/flops.h"
#include "tests/support/models.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>

namespace dlcm {
namespace {

bool starts_with(const std::string& text, std::string_view prefix) { return text.rfind(prefix, 0) == 0; }

// Weights of a built model by the components that count_parameters names.
ParameterCount count_built(const LanguageModel& model) {
  ParameterCount count;
  for (const auto& entry : model.named_parameters()) {
    const auto& name = entry.key();
    const int64_t size = entry.value().numel();
    if (name == "embedding") {
      count.embedding += size;
    } else if (starts_with(name, "head.")) {
      count.head += size;
    } else if (starts_with(name, "encoder.")) {
      count.encoder += size;
    } else if (starts_with(name, "parser.")) {
      count.parser += size;
    } else if (starts_with(name, "pooling.")) {
      count.pooling += size;
    } else if (starts_with(name, "concepts.") || starts_with(name, "concepts_norm.")) {
      count.backbone += size;
    } else if (starts_with(name, "concept_residual.")) {
      count.concept_residual += size;
    } else if (starts_with(name, "cross_attention") &&
               (name.find(".key") != std::string::npos || name.find(".value") != std::string::npos)) {
      count.cross_attention_concept += size;
    } else if (starts_with(name, "cross_attention")) {
      count.cross_attention_token += size;
    } else {
      EXPECT_TRUE(starts_with(name, "decoder") || starts_with(name, "stack.") || starts_with(name, "norm.")) << name;
      count.decoder += size;
    }
  }
  return count;
}

void expect_counted(const Config& config, const std::string& name) {
  const auto expected = count_parameters(config);
  const auto built = count_built(*make_model(config));
  EXPECT_EQ(built.embedding, expected.embedding) << name;
  EXPECT_EQ(built.encoder, expected.encoder) << name;
  EXPECT_EQ(built.parser, expected.parser) << name;
  EXPECT_EQ(built.pooling, expected.pooling) << name;
  EXPECT_EQ(built.backbone, expected.backbone) << name;
  EXPECT_EQ(built.concept_residual, expected.concept_residual) << name;
  EXPECT_EQ(built.cross_attention_token, expected.cross_attention_token) << name;
  EXPECT_EQ(built.cross_attention_concept, expected.cross_attention_concept) << name;
  EXPECT_EQ(built.decoder, expected.decoder) << name;
  EXPECT_EQ(built.head, expected.head) << name;
  EXPECT_EQ(built.total(), expected.total()) << name;
}

TEST(Parameters, AreThoseCountedForEveryShippedConfiguration) {
  int built = 0;
  for (const auto& file : std::filesystem::directory_iterator(DLCM_SOURCE_DIR "/configs")) {
    auto config = load_config(file.path());
    if (config.model.vocabulary == 0) config.model.vocabulary = 300;
    if (count_parameters(config).total() > 20'000'000) continue;
    expect_counted(config, file.path());
    ++built;
  }
  EXPECT_GE(built, 4);
}

TEST(Parameters, AreThoseCountedForEveryRule) {
  for (const auto rule : test::kBoundaryRules) {
    for (const int64_t scan_width : {0, 5}) {
      auto config = test::random_model_config(ModelKind::dlcm);
      config.parser.rule = rule;
      config.parser.scan_width = scan_width;
      expect_counted(config, std::string(name_of(rule)));
    }
  }
  expect_counted(test::random_model_config(ModelKind::llama), "llama");
  expect_counted(test::beyond_the_paper(test::random_model_config(ModelKind::dlcm), 5), "beyond the paper");
}

TEST(Parameters, FollowTheWidthTheyBelongTo) {
  auto config = test::random_model_config(ModelKind::dlcm);
  config.model.concepts.layers = 1;
  std::map<std::string, ParameterRole> expected{{"embedding", ParameterRole::embedding},
                                                {"head.weight", ParameterRole::head},
                                                {"parser.query.weight", ParameterRole::token_matrix},
                                                {"parser.key.weight", ParameterRole::token_matrix},
                                                {"pooling.up.weight", ParameterRole::token_matrix},
                                                {"cross_attention.query.weight", ParameterRole::token_matrix},
                                                {"cross_attention.output.weight", ParameterRole::token_matrix},
                                                {"cross_attention.key.weight", ParameterRole::concept_matrix},
                                                {"cross_attention.value.weight", ParameterRole::concept_matrix}};
  for (const auto* gain : {"parser.norm.gain", "pooling.norm.gain", "pooling.start_concept", "concepts_norm.gain",
                           "cross_attention.norm.gain", "cross_attention.query_norm.gain",
                           "cross_attention.key_norm.gain", "decoder_norm.gain"}) {
    expected[gain] = ParameterRole::gain;
  }
  for (const auto& [stack, role] :
       {std::pair{"encoder", ParameterRole::token_matrix}, std::pair{"concepts", ParameterRole::concept_matrix},
        std::pair{"decoder", ParameterRole::token_matrix}}) {
    const auto layer = std::string(stack) + ".layers0.";
    for (const auto* matrix : {"attention.query", "attention.key", "attention.value", "attention.output",
                               "feed_forward.gate", "feed_forward.up", "feed_forward.down"}) {
      expected[layer + matrix + ".weight"] = role;
    }
    expected[layer + "attention_norm.gain"] = expected[layer + "feed_forward_norm.gain"] = ParameterRole::gain;
  }
  const auto model = make_model(config);
  const auto parameters = model->named_parameters();
  EXPECT_EQ(parameters.size(), expected.size());
  for (const auto& entry : parameters) {
    ASSERT_TRUE(expected.count(entry.key())) << entry.key();
    EXPECT_EQ(role_of(entry.key()), expected[entry.key()]) << entry.key();
  }
}

TEST(Parameters, BeyondThePaperFollowTheWidthTheyReadFrom) {
  const auto model = make_model(test::beyond_the_paper(test::random_model_config(ModelKind::dlcm), 5));
  const auto parameters = model->named_parameters();
  for (const auto& [name, role] : {std::pair{"concept_residual.down.weight", ParameterRole::concept_matrix},
                                   {"cross_attention1.key.weight", ParameterRole::concept_matrix},
                                   {"cross_attention1.value.weight", ParameterRole::concept_matrix},
                                   {"cross_attention1.query.weight", ParameterRole::token_matrix},
                                   {"cross_attention1.output.weight", ParameterRole::token_matrix},
                                   {"cross_attention1.key_norm.gain", ParameterRole::gain}}) {
    EXPECT_TRUE(parameters.contains(name)) << name;
    EXPECT_EQ(role_of(name), role) << name;
  }
}

TEST(Parameters, OfTheBaselineBelongToTheTokenStack) {
  const auto model = make_model(test::random_model_config(ModelKind::llama));
  for (const auto& entry : model->named_parameters()) {
    const auto& name = entry.key();
    const auto expected = name == "embedding"                                         ? ParameterRole::embedding
                          : name == "head.weight"                                     ? ParameterRole::head
                          : name.size() > 4 && name.substr(name.size() - 4) == "gain" ? ParameterRole::gain
                                                                                      : ParameterRole::token_matrix;
    EXPECT_EQ(role_of(name), expected) << name;
  }
}

// s_token = 4, s_concept = 9; 2 + 3 token layers, 6 concept layers.
Config wide_config() {
  auto config = test::random_model_config(ModelKind::dlcm, 500);
  config.model.init_std = 0.06;
  config.model.token = {
      .width = 64, .encoder_layers = 2, .decoder_layers = 3, .feed_forward = 96, .heads = 4, .kv_heads = 2};
  config.model.concepts = {.width = 72, .layers = 6, .feed_forward = 80, .heads = 4, .kv_heads = 2};
  config.mup.base_token_width = 16;
  config.mup.base_concept_width = 8;
  return config;
}

void expect_normal(const at::Tensor& tensor, double std, const std::string& name) {
  const auto values = tensor.detach().to(at::kDouble);
  const double count = static_cast<double>(tensor.numel());
  EXPECT_NEAR(values.square().mean().sqrt().item<double>() / std, 1.0, 5 / std::sqrt(2 * count)) << name;
  EXPECT_NEAR(values.mean().item<double>() / std, 0.0, 5 / std::sqrt(count)) << name;
}

TEST(Initialisation, SpreadFollowsTheMultipliersAndTheDepth) {
  const auto model = make_model(wide_config());
  const double token = 0.06 / 2, concept_std = 0.06 / 3;
  const std::map<std::string, double> expected{{"embedding", 0.06},
                                               {"head.weight", 0.06},
                                               {"pooling.start_concept", 0.06},
                                               {"pooling.up.weight", token},
                                               {"cross_attention.query.weight", token},
                                               {"cross_attention.output.weight", token / std::sqrt(10.0)},
                                               {"cross_attention.key.weight", concept_std},
                                               {"cross_attention.value.weight", concept_std}};
  int drawn = 0;
  for (const auto& entry : model->named_parameters()) {
    const auto& name = entry.key();
    if (starts_with(name, "parser.") || name.find("gain") != std::string::npos) continue;
    const bool in_backbone = starts_with(name, "concepts.");
    const bool is_output =
        name.find("attention.output") != std::string::npos || name.find(".down.") != std::string::npos;
    double std = in_backbone ? concept_std : token;
    if (is_output) std /= std::sqrt(in_backbone ? 12.0 : 10.0);  // 1 / sqrt(2 layers)
    if (const auto found = expected.find(name); found != expected.end()) std = found->second;
    expect_normal(entry.value(), std, name);
    ++drawn;
  }
  EXPECT_EQ(drawn, 8 + 7 * (2 + 3 + 6));
}

TEST(Initialisation, GainsAreOneAndTheParserIsTheIdentity) {
  const auto model = make_model(wide_config());
  for (const auto& entry : model->named_parameters()) {
    if (entry.key().find("gain") == std::string::npos) continue;
    EXPECT_TRUE(at::equal(entry.value(), at::ones_like(entry.value()))) << entry.key();
  }
  for (const auto* name : {"parser.query.weight", "parser.key.weight"}) {
    EXPECT_TRUE(at::equal(test::parameter(*model, name), at::eye(32, 64))) << name;
  }
}

TEST(Initialisation, SeedDeterminesEveryWeight) {
  const auto one = make_model(wide_config()), same = make_model(wide_config());
  auto config = wide_config();
  config.train.seed = 2;
  const auto other = make_model(config);
  for (const auto& entry : one->named_parameters()) {
    EXPECT_TRUE(at::equal(entry.value(), test::parameter(*same, entry.key()))) << entry.key();
    const bool drawn = entry.key().find("gain") == std::string::npos && !starts_with(entry.key(), "parser.");
    EXPECT_EQ(at::equal(entry.value(), test::parameter(*other, entry.key())), !drawn) << entry.key();
  }
}

TEST(Initialisation, NoTwoMatricesAreAlike) {
  const auto model = make_model(wide_config());
  std::map<float, std::string> first;
  for (const auto& entry : model->named_parameters()) {
    if (entry.key().find("gain") != std::string::npos || starts_with(entry.key(), "parser.")) continue;
    const auto [found, fresh] = first.emplace(entry.value().view(-1)[0].item<float>(), entry.key());
    EXPECT_TRUE(fresh) << entry.key() << " begins like " << found->second;
  }
}

TEST(Initialisation, UnknownVocabularyIsRefused) { EXPECT_THROW(make_model(Config{}), Error); }

}  // namespace
}  // namespace dlcm
