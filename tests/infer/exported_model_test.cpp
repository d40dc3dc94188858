#include "dlcm/infer/exported_model.h"

#include "dlcm/io/files.h"
#include "dlcm/util/error.h"
#include "tests/infer/tiny_model.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstring>
#include <random>

namespace dlcm {
namespace {

using test::message_of;

ParameterSource source_of(const test::TinyModel& model) {
  return [parameters = save_parameters(*model.model)](const std::string& name, const std::vector<int64_t>&) {
    return parameters.tensors.at(name);
  };
}

ModelFacts facts_of(const test::TinyModel& model) {
  return {.config = model.config,
          .tokenizer = model.tokenizer,
          .step = 7,
          .tokens_seen = 1234,
          .boundary_quantiles = model.boundary_quantiles};
}

EngineResult read(Engine& engine, const std::vector<int32_t>& ids) {
  const auto sequence = engine.new_sequence();
  return engine.step({.sequence = sequence.get(), .ids = ids, .logits = LogitsWanted::all});
}

const std::vector<int32_t> kIds{257, 'W', 'h', 'a', 't', ' ', 'i', 's', ' ', 'i', 't', '?', '\n', 0, 255};

class ExportedModel : public testing::TestWithParam<std::tuple<ModelKind, WeightFormat>> {
 protected:
  ExportedModel() : model_(test::tiny_model(test::tiny_config(std::get<0>(GetParam())))) {
    write_exported_model(path_, facts_of(model_), std::get<1>(GetParam()), source_of(model_));
  }

  test::TemporaryDirectory directory_;
  std::string path_ = directory_ / "model.dlcm";
  test::TinyModel model_;
};

TEST_P(ExportedModel, IsWhatWasExported) {
  const auto loaded = load_engine_model(path_);
  EXPECT_EQ(loaded->path, path_);
  EXPECT_EQ(to_toml(loaded->config), to_toml(model_.config));
  EXPECT_EQ(loaded->tokenizer->serialized(), model_.tokenizer->serialized());
  EXPECT_EQ(loaded->step, 7);
  EXPECT_EQ(loaded->tokens_seen, 1234);
  EXPECT_EQ(loaded->boundary_quantiles, model_.boundary_quantiles);
  EXPECT_EQ(loaded->format, std::get<1>(GetParam()));
  EXPECT_EQ(load_safetensors(path_).metadata.at("format"), "dlcm-model");
}

TEST_P(ExportedModel, GivesTheBitsOfTheModelPackedInMemory) {
  Engine exported(load_engine_model(path_), {.threads = 2});
  Engine packed(model_.packed(std::get<1>(GetParam())), {.threads = 1});
  const auto result = read(exported, kIds), expected = read(packed, kIds);
  EXPECT_EQ(result.logits, expected.logits);
  EXPECT_EQ(result.boundary_prob, expected.boundary_prob);
}

// Logits of these models are of the order of 1. Boundaries that flip would change more than rounding does.
TEST_P(ExportedModel, IsNearTheTrainedModel) {
  Engine exported(load_engine_model(path_), {.threads = 1});
  auto& trained = model_.engine();
  const std::vector<uint8_t> forced{1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 1, 0};
  const auto run = [&](Engine& engine) {
    const auto sequence = engine.new_sequence();
    return engine.step({.sequence = sequence.get(), .ids = kIds, .forced = forced, .logits = LogitsWanted::all});
  };
  const auto result = run(exported), expected = run(trained);
  double squares = 0.0, total = 0.0;
  for (size_t i = 0; i < expected.logits.size(); ++i) {
    const double difference = static_cast<double>(result.logits[i]) - static_cast<double>(expected.logits[i]);
    squares += difference * difference;
    total += static_cast<double>(expected.logits[i]) * static_cast<double>(expected.logits[i]);
  }
  const double relative = std::sqrt(squares / total);
  switch (std::get<1>(GetParam())) {
    case WeightFormat::float32:
      EXPECT_EQ(relative, 0.0);
      break;
    case WeightFormat::bfloat16:
    case WeightFormat::int8:
      EXPECT_LT(relative, 0.05);
      EXPECT_GT(relative, 0.0);
      break;
    case WeightFormat::int4:
      EXPECT_LT(relative, 0.5);
      EXPECT_GT(relative, 0.0);
      break;
  }
}

TEST_P(ExportedModel, BatchesAndSplitsGiveTheSameBits) {
  Engine engine(load_engine_model(path_), {.threads = 2});
  const auto whole = read(engine, kIds);
  const auto one = engine.new_sequence(), other = engine.new_sequence();
  EngineResult stepwise;
  for (size_t t = 0; t < kIds.size(); ++t) {
    const std::vector<EngineWork> works{
        {.sequence = one.get(), .ids = std::span(kIds).subspan(t, 1), .logits = LogitsWanted::last},
        {.sequence = other.get(), .ids = kIds}};
    const auto results = engine.step(works);
    stepwise.logits.insert(stepwise.logits.end(), results[0].logits.begin(), results[0].logits.end());
  }
  EXPECT_EQ(stepwise.logits, whole.logits);
}

TEST_P(ExportedModel, TruncatedOrLongerFilesAreRefused) {
  const auto content = read_file(path_);
  for (const size_t size : {size_t{0}, size_t{7}, size_t{100}, content.size() / 2, content.size() - 1}) {
    test::overwrite(path_, content.substr(0, size));
    EXPECT_THROW(load_engine_model(path_), Error) << size;
  }
  test::overwrite(path_, content + "x");
  EXPECT_THROW(load_engine_model(path_), Error);
}

INSTANTIATE_TEST_SUITE_P(Formats, ExportedModel,
                         testing::Combine(testing::Values(ModelKind::dlcm, ModelKind::llama),
                                          testing::Values(WeightFormat::float32, WeightFormat::bfloat16,
                                                          WeightFormat::int8, WeightFormat::int4)),
                         [](const auto& information) {
                           return fmt::format("{}_{}", name_of(std::get<0>(information.param)),
                                              name_of(std::get<1>(information.param)));
                         });

class ExportedFile : public testing::Test {
 protected:
  ExportedFile() : model_(test::tiny_model(test::tiny_config(ModelKind::dlcm))) { write(model_); }

  void write(const test::TinyModel& model) {
    write_exported_model(path_, facts_of(model), WeightFormat::int8, source_of(model));
    content_ = load_safetensors(path_);
  }

  // The message with which a file is refused whose tensors and metadata are those of content_ as `change` leaves them.
  template <typename Change>
  std::string refusal(Change change) {
    auto changed = content_;
    change(changed);
    std::vector<SafeTensorsWriter::Tensor> tensors;
    for (const auto& [name, tensor] : changed.tensors) {
      tensors.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
    }
    // Matrices first, as an export has them.
    std::stable_partition(tensors.begin(), tensors.end(),
                          [](const auto& tensor) { return tensor.type == at::kByte && tensor.name != "tokenizer"; });
    SafeTensorsWriter writer(path_, changed.metadata, tensors, 64);
    for (const auto& tensor : tensors) {
      const auto& value = changed.tensors.at(tensor.name);
      writer.append({static_cast<const char*>(value.const_data_ptr()), static_cast<size_t>(value.nbytes())});
    }
    writer.close();
    return message_of<Error>([&] { load_engine_model(path_); });
  }

  static bool tells(const std::string& message, const std::string& what) {
    return message.find(what) != std::string::npos;
  }

  test::TemporaryDirectory directory_;
  std::string path_ = directory_ / "model.dlcm";
  test::TinyModel model_;
  SafeTensors content_;
};

TEST_F(ExportedFile, OtherFormatsVersionsAndLayoutsAreRefused) {
  for (const std::string key : {"format", "version", "layout"}) {
    const auto other = refusal([&](SafeTensors& content) { content.metadata[key] = "other"; });
    EXPECT_TRUE(tells(other, key)) << other;
    EXPECT_TRUE(tells(other, "\"other\"")) << other;
    EXPECT_TRUE(tells(other, path_)) << other;
    const auto missing = refusal([&](SafeTensors& content) { content.metadata.erase(key); });
    EXPECT_TRUE(tells(missing, key)) << missing;
  }
}

TEST_F(ExportedFile, MetadataThatIsNoneIsRefused) {
  for (const std::string key : {"config", "weights", "matrices", "step", "tokens", "boundary_quantiles"}) {
    for (const std::string value : {"", "]", "\"text\"", "-1", "[1, 0.5]", "{\"a\": 7}"}) {
      if (key == "config" && value.empty()) continue;  // an empty configuration has its defaults; below
      EXPECT_FALSE(refusal([&](SafeTensors& content) { content.metadata[key] = value; }).empty()) << key << value;
    }
    EXPECT_FALSE(refusal([&](SafeTensors& content) { content.metadata.erase(key); }).empty()) << key;
  }
}

TEST_F(ExportedFile, WeightsOfAnotherConfigurationAreRefused) {
  auto other = model_.config;
  other.model.concepts.layers = 1;
  const auto extra = refusal([&](SafeTensors& content) { content.metadata["config"] = to_toml(other); });
  EXPECT_TRUE(tells(extra, "concepts.layers1")) << extra;
  other.model.concepts.layers = 3;
  const auto missing = refusal([&](SafeTensors& content) { content.metadata["config"] = to_toml(other); });
  EXPECT_TRUE(tells(missing, "concepts.layers2")) << missing;
  other.model.concepts.layers = 2;
  other.model.token.feed_forward = 48;
  EXPECT_FALSE(refusal([&](SafeTensors& content) { content.metadata["config"] = to_toml(other); }).empty());
}

TEST_F(ExportedFile, TensorsOfOtherSizesAndTypesAreRefused) {
  for (const std::string name : {"embedding", "head.weight", "decoder_norm.gain", "tokenizer"}) {
    EXPECT_FALSE(refusal([&](SafeTensors& content) { content.tensors.erase(name); }).empty()) << name;
    EXPECT_FALSE(refusal([&](SafeTensors& content) {
                   auto& tensor = content.tensors.at(name);
                   tensor = tensor.narrow(0, 0, tensor.size(0) / 2).contiguous();
                 }).empty())
        << name;
    EXPECT_FALSE(refusal([&](SafeTensors& content) {
                   auto& tensor = content.tensors.at(name);
                   tensor = tensor.to(at::kLong);
                 }).empty())
        << name;
  }
  EXPECT_FALSE(refusal([&](SafeTensors& content) { content.tensors["more"] = at::zeros({64}, at::kByte); }).empty());
}

TEST_F(ExportedFile, RandomBytesInTheHeaderNeverCrash) {
  const auto content = read_file(path_);
  std::mt19937_64 random(3);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, content.data(), sizeof(header_bytes));
  for (int trial = 0; trial < 300; ++trial) {
    auto changed = content;
    const auto changes = 1 + random() % 4;
    for (uint64_t i = 0; i < changes; ++i) changed[random() % (8 + header_bytes)] = static_cast<char>(random());
    test::overwrite(path_, changed);
    try {
      load_engine_model(path_);
    } catch (const Error&) {
    }
  }
}

TEST_F(ExportedFile, EveryRuleAndReadingIsExported) {
  for (const auto rule : test::kBoundaryRules) {
    auto config = test::tiny_config(ModelKind::dlcm);
    config.parser.rule = rule;
    config.model.cross_attention = CrossAttentionReading::replicated;
    config.smoothing.kind = SmoothingKind::moving_average;
    const auto model = test::tiny_model(config);
    write(model);
    Engine exported(load_engine_model(path_), {.threads = 1}), packed(model.packed(WeightFormat::int8), {.threads = 1});
    EXPECT_EQ(read(exported, kIds).logits, read(packed, kIds).logits) << name_of(rule);
    EXPECT_EQ(read(exported, kIds).boundary, read(packed, kIds).boundary) << name_of(rule);
  }
}

TEST_F(ExportedFile, RandomParametersAreThoseOfTheirSeed) {
  const auto config = test::tiny_config(ModelKind::dlcm);
  const auto once = random_parameters(config, 1), again = random_parameters(config, 1),
             other = random_parameters(config, 2);
  const std::string name = "encoder.layers0.attention.query.weight";
  EXPECT_TRUE(at::equal(once(name, {16, 16}), again(name, {16, 16})));
  EXPECT_FALSE(at::equal(once(name, {16, 16}), other(name, {16, 16})));
  EXPECT_FALSE(at::equal(once(name, {16, 16}), once("encoder.layers1.attention.query.weight", {16, 16})));
  EXPECT_TRUE(at::equal(once("decoder_norm.gain", {16}), at::ones({16})));
}

}  // namespace
}  // namespace dlcm
