#include "dlcm/infer/engine_model.h"

#include "dlcm/util/error.h"
#include "tests/infer/tiny_model.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

namespace dlcm {
namespace {

using test::message_of;

TEST(LoadModel, RunDirectoryAndCheckpointGiveTheSavedModel) {
  auto config = test::tiny_config(ModelKind::dlcm);
  config.parser.threshold = 0.4375;
  const auto saved = test::tiny_model(config);
  const test::TemporaryDirectory run;
  const auto checkpoint = save_checkpoint(run.path(), test::checkpoint_of(saved), 1);
  const auto packed = saved.packed();
  for (const auto& path : {run.path(), checkpoint}) {
    const auto loaded = load_engine_model(path);
    EXPECT_TRUE(std::filesystem::equivalent(loaded->path, checkpoint));
    EXPECT_EQ(loaded->step, 7);
    EXPECT_EQ(loaded->tokens_seen, 1234);
    EXPECT_EQ(loaded->threshold(), 0.4375);
    EXPECT_EQ(loaded->boundary_quantiles, saved.boundary_quantiles);
    EXPECT_EQ(loaded->tokenizer->vocabulary(), 258);
    EXPECT_EQ(to_toml(loaded->config), to_toml(saved.config));
    ASSERT_EQ(loaded->weight_bytes, packed->weight_bytes);
    EXPECT_EQ(std::memcmp(loaded->storage.get(), packed->storage.get(), static_cast<size_t>(packed->weight_bytes)), 0);
  }
}

TEST(LoadModel, NewestCheckpointOfARunIsTaken) {
  const test::TemporaryDirectory run;
  auto checkpoint = test::checkpoint_of(test::tiny_model(test::tiny_config(ModelKind::llama)));
  save_checkpoint(run.path(), checkpoint, 2);
  checkpoint.step = 9;
  save_checkpoint(run.path(), checkpoint, 2);
  EXPECT_EQ(load_engine_model(run.path())->step, 9);
}

TEST(LoadModel, PathsWithoutACheckpointAreErrors) {
  const test::TemporaryDirectory directory;
  test::overwrite(directory / "file", "text");
  for (const auto& path : {directory.path(), directory / "missing", directory / "file"}) {
    EXPECT_THROW(load_engine_model(path), Error) << path;
  }
}

TEST(LoadModel, WeightsOfAnotherConfigurationAreRefused) {
  const test::TemporaryDirectory run;
  auto checkpoint = test::checkpoint_of(test::tiny_model(test::tiny_config(ModelKind::dlcm)));
  checkpoint.config_toml = to_toml(test::tiny_config(ModelKind::llama));
  save_checkpoint(run.path(), checkpoint, 1);
  const auto message = message_of<Error>([&] { load_engine_model(run.path()); });
  EXPECT_NE(message.find("model.safetensors"), std::string::npos) << message;
}

TEST(LoadModel, TokenizerWithMoreIdsThanTheModelIsRefused) {
  const test::TemporaryDirectory run;
  const auto model = make_model(test::tiny_config(ModelKind::dlcm, 200));
  auto checkpoint = test::checkpoint_of(test::tiny_model(test::tiny_config(ModelKind::dlcm)));
  checkpoint.config_toml = to_toml(model->config());
  checkpoint.model = save_parameters(*model);
  save_checkpoint(run.path(), checkpoint, 1);
  const auto message = message_of<Error>([&] { load_engine_model(run.path()); });
  EXPECT_NE(message.find("at most 200 ids"), std::string::npos) << message;
}

TEST(LoadModel, QuantilesThatAreNoneAreRefused) {
  for (const auto& quantiles : {nlohmann::json{0.1, 0.2}, nlohmann::json("text"), nlohmann::json(7)}) {
    const test::TemporaryDirectory run;
    auto checkpoint = test::checkpoint_of(test::tiny_model(test::tiny_config(ModelKind::dlcm)));
    checkpoint.trainer["boundary_quantiles"] = quantiles;
    save_checkpoint(run.path(), checkpoint, 1);
    const auto message = message_of<Error>([&] { load_engine_model(run.path()); });
    EXPECT_NE(message.find("boundary_quantiles"), std::string::npos) << message;
  }
}

TEST(LoadModel, QuantilesMayBeAbsent) {
  const test::TemporaryDirectory run;
  auto checkpoint = test::checkpoint_of(test::tiny_model(test::tiny_config(ModelKind::dlcm)));
  checkpoint.trainer.erase("boundary_quantiles");
  save_checkpoint(run.path(), checkpoint, 1);
  EXPECT_TRUE(load_engine_model(run.path())->boundary_quantiles.empty());
}

TEST(Threshold, StoredOneIsTheDefault) {
  auto config = test::tiny_config(ModelKind::dlcm);
  config.parser.threshold = 0.61;
  EXPECT_EQ(threshold_for(test::tiny_model(config), {}), 0.61);
}

TEST(Threshold, OneAskedForIsTaken) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  for (const double threshold : {0.0, 0.25, 1.0}) {
    EXPECT_EQ(threshold_for(model, {.threshold = threshold, .ratio = {}}), threshold);
  }
}

TEST(Threshold, RatioTakesTheQuantileOfTheScores) {
  auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  for (size_t i = 0; i <= 100; ++i) model.boundary_quantiles[i] = static_cast<double>(i * i) / 1e4;
  EXPECT_NEAR(threshold_for(model, {.threshold = {}, .ratio = 4.0}), 0.75 * 0.75, 1e-12);
  // Between the 87 % and the 88 % quantile.
  EXPECT_NEAR(threshold_for(model, {.threshold = {}, .ratio = 8.0}), (0.87 * 0.87 + 0.88 * 0.88) / 2, 1e-12);
  EXPECT_EQ(threshold_for(model, {.threshold = {}, .ratio = 1.0}), 0.0);
  EXPECT_NEAR(threshold_for(model, {.threshold = {}, .ratio = 1e12}), 1.0, 1e-9);
}

TEST(Threshold, RequestsOutOfRangeAreErrors) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  for (const double threshold : {-0.01, 1.01, std::nan("")}) {
    EXPECT_THROW(threshold_for(model, {.threshold = threshold, .ratio = {}}), Error) << threshold;
  }
  for (const double ratio : {0.99, -4.0, 0.0, std::nan("")}) {
    EXPECT_THROW(threshold_for(model, {.threshold = {}, .ratio = ratio}), Error) << ratio;
  }
  EXPECT_THROW(threshold_for(model, {.threshold = 0.5, .ratio = 4.0}), Error);
}

TEST(Threshold, RatioWithoutStoredQuantilesIsAnError) {
  auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  model.boundary_quantiles.clear();
  const auto message = message_of<Error>([&] { threshold_for(model, {.threshold = {}, .ratio = 4.0}); });
  EXPECT_NE(message.find("--threshold"), std::string::npos) << message;
}

TEST(Threshold, ModelsWithoutALearnedParserRefuseBoth) {
  auto stride = test::tiny_config(ModelKind::dlcm);
  stride.parser.rule = BoundaryRule::stride;
  for (const auto& config : {stride, test::tiny_config(ModelKind::llama)}) {
    const auto model = test::tiny_model(config);
    EXPECT_THROW(threshold_for(model, {.threshold = 0.5, .ratio = {}}), Error);
    EXPECT_THROW(threshold_for(model, {.threshold = {}, .ratio = 4.0}), Error);
    EXPECT_EQ(threshold_for(model, {}), model.config.parser.threshold);
  }
}

}  // namespace
}  // namespace dlcm
