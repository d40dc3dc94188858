// The entropy rule: its model is taken over, its threshold holds the ratio, and nothing of it is trained.
#include "dlcm/train/entropy_rule.h"

#include "dlcm/data/build.h"
#include "dlcm/infer/parameters_io.h"
#include "dlcm/io/checkpoint_store.h"
#include "dlcm/train/run.h"
#include "dlcm/util/error.h"
#include "tests/infer/tiny_model.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace dlcm {
namespace {

class EntropyRule : public testing::Test {
 protected:
  EntropyRule() {
    std::mt19937 random(4);
    std::ofstream text(directory_ / "text.txt");
    for (int i = 0; i < 6000; ++i) {
      text << static_cast<char>('a' + random() % 26) << (random() % 5 == 0 ? " " : "");
      if (i % 400 == 399) text << "\n<|endoftext|>\n";
    }
    text.close();
    DataBuild build;
    build.tokenizer = "bytes";
    build.inputs = {directory_ / "text.txt"};
    build.output = directory_ / "data";
    std::istringstream nothing;
    build_data(build, nothing);
    data_.emplace(directory_ / "data", Split::train);

    llama_ = test::tiny_model(test::tiny_config(ModelKind::llama));
    save_checkpoint(directory_ / "llama", test::checkpoint_of(llama_), 1);
    config_ = test::tiny_config(ModelKind::dlcm);
    config_.parser.rule = BoundaryRule::entropy;
    config_.parser.entropy = {};
    config_.parser.entropy.model = directory_ / "llama";
    config_.eval.tokens = 4096;
  }
  std::string refusal(const Config& config) {
    return test::message_of<Error>([&] { resolve_config(config, *data_); });
  }

  test::TemporaryDirectory directory_;
  std::optional<Mixture> data_;
  test::TinyModel llama_;
  Config config_;
};

TEST_F(EntropyRule, TakesShapeWeightsAndAThresholdThatHoldsTheRatio) {
  const at::NoGradGuard no_gradient;
  for (const double ratio : {2.0, 3.3, 7.0}) {
    auto asked = config_;
    asked.parser.ratio = ratio;
    const auto config = resolve_config(asked, *data_);
    const auto& entropy = config.parser.entropy;
    EXPECT_EQ(entropy.width, llama_.config.model.token.width);
    EXPECT_EQ(entropy.layers, llama_.config.model.token.layers);
    EXPECT_EQ(entropy.base_width, llama_.config.mup.base_token_width);
    EXPECT_GT(entropy.threshold, 0.0);
    check_config(config);
    const auto model = make_model(config);
    load_entropy_model(*model, config);
    const MixedWindows windows(*data_, config.train.seed, config.train.context);
    const auto batch = windows.read(0, 4096);
    const auto cut = *model->parse(batch, Decision::evaluation(0.5));
    EXPECT_NEAR(4096.0 / cut.boundary_T.sum().item<double>(), ratio, 0.02 * ratio);

    // A token opens a concept where the model was uncertain before it.
    const auto entropy_T =
        llama_.model->next_token_entropies(llama_.model->forward(batch, Decision::evaluation(0.5)).y_TD);
    for (int64_t t = 0; t < batch.tokens(); ++t) {
      const bool first = batch.documents.position_T[t].item<int64_t>() == 0;
      const bool expected = first || entropy_T[t - 1].item<double>() > entropy.threshold;
      ASSERT_EQ(cut.boundary_T[t].item<bool>(), expected) << t;
    }
  }
}

TEST_F(EntropyRule, ItsModelIsKeptInCheckpointsAndNeverTrained) {
  const auto config = resolve_config(config_, *data_);
  const auto model = make_model(config);
  load_entropy_model(*model, config);
  const std::string name = "parser." + entropy_buffer("head.weight");
  const auto weight = save_parameters(*model).tensors.at(name).clone();
  EXPECT_TRUE(at::equal(weight, test::parameter(*llama_.model, "head.weight")));
  AdamW optimizer(*model, config);
  const MixedWindows windows(*data_, config.train.seed, config.train.context);
  WorkerThreads workers(1);
  SingleProcess communicator;
  Gradients gradients(*model, communicator);
  const auto before = test::parameter(*model, "head.weight").clone();
  for (int64_t step = 0; step < 3; ++step) {
    optimise(*model, optimizer, gradients, read_step(windows, config, step, communicator), step, workers);
  }
  EXPECT_FALSE(at::equal(test::parameter(*model, "head.weight"), before));
  EXPECT_TRUE(at::equal(save_parameters(*model).tensors.at(name), weight));
  // Another model from the checkpoint alone.
  const auto again = make_model(config);
  load_parameters(*again, save_parameters(*model), "memory");
  EXPECT_TRUE(at::equal(save_parameters(*again).tensors.at(name), weight));
}

TEST_F(EntropyRule, ACheckpointBringsItsOwn) {
  const auto stored = resolve_config(config_, *data_);
  std::filesystem::remove_all(directory_ / "llama");
  auto config = config_;
  config.eval.tokens = 2048;  // another calibration, were there one
  take_entropy_rule(config, stored);
  EXPECT_EQ(resolve_config(config, *data_).parser.entropy.threshold, stored.parser.entropy.threshold);
  EXPECT_EQ(config.parser.entropy.layers, stored.parser.entropy.layers);

  config = config_;
  config.parser.entropy.model.clear();
  config.parser.entropy.threshold = 1.25;
  take_entropy_rule(config, stored);
  EXPECT_EQ(config.parser.entropy.threshold, 1.25);
  EXPECT_EQ(config.parser.entropy.model, stored.parser.entropy.model);

  config.parser.entropy.model = "another";
  const auto refused = test::message_of<Error>([&] { take_entropy_rule(config, stored); });
  EXPECT_NE(refused.find("another"), std::string::npos);
  EXPECT_NE(refused.find(stored.parser.entropy.model), std::string::npos);

  auto learned = config;
  learned.parser.rule = BoundaryRule::learned;
  take_entropy_rule(learned, stored);
  EXPECT_EQ(learned.parser.entropy.model, "another");
}

TEST_F(EntropyRule, WrongModelsAreNamed) {
  auto config = config_;
  config.parser.entropy.model = directory_ / "nowhere";
  EXPECT_NE(refusal(config).find("nowhere"), std::string::npos);

  save_checkpoint(directory_ / "dlcm", test::checkpoint_of(test::tiny_model(test::tiny_config(ModelKind::dlcm))), 1);
  config.parser.entropy.model = directory_ / "dlcm";
  EXPECT_NE(refusal(config).find("kind dlcm"), std::string::npos);

  config = config_;
  config.model.rope_theta = 5000.0;
  EXPECT_NE(refusal(config).find("rope_theta"), std::string::npos);

  config = config_;
  config.model.vocabulary = 300;
  EXPECT_NE(refusal(config).find("vocabulary"), std::string::npos);

  // What boundaries it would open in training is not what it would with a window, or past its context.
  auto windowed = test::tiny_config(ModelKind::llama);
  windowed.model.token.attention_window = 4;
  save_checkpoint(directory_ / "windowed", test::checkpoint_of(test::tiny_model(windowed)), 1);
  config = config_;
  config.parser.entropy.model = directory_ / "windowed";
  EXPECT_NE(refusal(config).find("attention_window = 4"), std::string::npos);

  config = config_;
  config.train.context = 2 * llama_.config.train.context;
  EXPECT_NE(refusal(config).find("a context of at least"), std::string::npos);

  config = config_;
  config.parser.entropy.model.clear();
  EXPECT_THROW(check_config(config), Error);
  EXPECT_THROW(make_model(config_), Error);  // before its shape is known
}

}  // namespace
}  // namespace dlcm
