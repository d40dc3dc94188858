// Training as a user runs it: killed and resumed, stopped by a signal, branched, refused.
#include "dlcm/io/checkpoint_store.h"
#include "dlcm/io/metrics.h"
#include "tests/io/temporary_directory.h"
#include "tests/support/process.h"
#include "tests/support/words.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <memory>
#include <random>

namespace dlcm {
namespace {

const std::string kConfig = std::string(DLCM_SOURCE_DIR) + "/configs/tiny.toml";

class Training : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<test::TemporaryDirectory>();
    for (const auto& [name, seed] : {std::pair{"data", 1U}, std::pair{"other-data", 2U}}) {
      test::overwrite(path(std::string(name) + ".txt"), test::text_of_words(seed, 200));
      const auto built = run({"data", "build", "--tokenizer", "bytes", "--input", path(std::string(name) + ".txt"),
                              "--output", path(name)});
      ASSERT_EQ(built.status, 0) << built.messages;
    }
  }
  static void TearDownTestSuite() { directory_.reset(); }

  static std::string path(const std::string& name) { return *directory_ / name; }
  static test::Finished run(std::vector<std::string> arguments) {
    return test::Process(path("scratch"), std::move(arguments)).wait();
  }
  static std::vector<std::string> training(const std::string& output, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"train",
                                       "--config",
                                       kConfig,
                                       "--data",
                                       path("data"),
                                       "--output",
                                       path(output),
                                       "--set",
                                       "train.threads=1",
                                       "--set",
                                       "train.precision=fp32",
                                       "--set",
                                       "train.steps=60",
                                       "--set",
                                       "checkpoint.every_steps=20",
                                       "--set",
                                       "eval.every_steps=30"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  // The run that nothing disturbs, made once.
  static const Checkpoint& undisturbed() {
    static const Checkpoint checkpoint = [] {
      const auto finished = run(training("undisturbed"));
      EXPECT_EQ(finished.status, 0) << finished.messages;
      return load_checkpoint(path("undisturbed"), true);
    }();
    return checkpoint;
  }
  static void expect_same(const SafeTensors& left, const SafeTensors& right) {
    ASSERT_EQ(left.tensors.size(), right.tensors.size());
    for (const auto& [name, tensor] : left.tensors) {
      ASSERT_TRUE(right.tensors.count(name)) << name;
      EXPECT_TRUE(at::equal(tensor, right.tensors.at(name))) << name;
    }
  }
  static void expect_refused(const std::vector<std::string>& arguments, const std::string& reason) {
    const auto finished = run(arguments);
    EXPECT_EQ(finished.status, 2) << finished.messages;
    EXPECT_NE(finished.messages.find(reason), std::string::npos) << finished.messages;
    EXPECT_EQ(std::count(finished.messages.begin(), finished.messages.end(), '\n'), 1) << finished.messages;
  }

  static inline std::unique_ptr<test::TemporaryDirectory> directory_;
};

TEST_F(Training, KilledAtAnyStepAndResumedGivesTheSameWeightsAndMomentsBitForBit) {
  const auto& expected = undisturbed();
  std::mt19937 random(7);
  for (int kill = 0; kill < 3; ++kill) {
    const auto output = "killed" + std::to_string(kill);
    test::Process process(path("killed"), training(output));
    const auto lines = static_cast<long>(1 + random() % 40);
    ASSERT_TRUE(process.wait_for_lines(path(output) + "/metrics.jsonl", lines));
    process.signal(SIGKILL);
    EXPECT_EQ(process.wait().status, 128 + SIGKILL);
    const auto resumed = run(training(output, {"--resume"}));
    ASSERT_EQ(resumed.status, 0) << resumed.messages;
    const auto checkpoint = load_checkpoint(path(output), true);
    EXPECT_EQ(checkpoint.step, 60);
    expect_same(checkpoint.model, expected.model);
    expect_same(checkpoint.optimizer, expected.optimizer);
    EXPECT_EQ(checkpoint.config_toml, expected.config_toml);
    // One line a step and a validation at 30 and 60, in order, whatever was killed.
    const auto metrics = read_metrics(path(output) + "/metrics.jsonl");
    const auto undisturbed_metrics = read_metrics(path("undisturbed") + "/metrics.jsonl");
    ASSERT_EQ(metrics.size(), 62u);
    for (size_t i = 0; i < metrics.size(); ++i) {
      EXPECT_EQ(metrics[i].at("step"), undisturbed_metrics[i].at("step"));
      EXPECT_EQ(metrics[i].value("loss", 0.0), undisturbed_metrics[i].value("loss", 0.0));
      EXPECT_GE(metrics[i].at("seconds").get<double>(), metrics[i == 0 ? 0 : i - 1].at("seconds").get<double>());
    }
  }
}

TEST_F(Training, AMixtureNamedInTheConfigurationIsResumedBitForBit) {
  test::overwrite(path("mix.toml"),
                  "[[source]]\ndata = \"data\"\nweight = 3\n[[source]]\nname = \"second\"\ndata = \"other-data\"\n"
                  "weight = 1\n");
  const auto mixed = [](const std::string& output, const std::vector<std::string>& more = {}) {
    auto arguments = training(output, more);
    const auto data = std::find(arguments.begin(), arguments.end(), "--data");
    *data = "--set";
    *std::next(data) = "data.path=" + path("mix.toml");
    return arguments;
  };
  const auto whole = run(mixed("mixed"));
  ASSERT_EQ(whole.status, 0) << whole.messages;
  test::Process process(path("mixed-killed"), mixed("mixed-killed"));
  ASSERT_TRUE(process.wait_for_lines(path("mixed-killed") + "/metrics.jsonl", 27));
  process.signal(SIGKILL);
  process.wait();
  // The configuration in the checkpoint names the mixture.
  const auto resumed = run({"train", "--resume", "--output", path("mixed-killed")});
  ASSERT_EQ(resumed.status, 0) << resumed.messages;
  const auto expected = load_checkpoint(path("mixed"), true), found = load_checkpoint(path("mixed-killed"), true);
  EXPECT_EQ(found.step, 60);
  expect_same(found.model, expected.model);
  expect_same(found.optimizer, expected.optimizer);
  EXPECT_EQ(found.trainer.at("epochs"), expected.trainer.at("epochs"));
  const auto line = read_metrics(path("mixed") + "/metrics.jsonl").front();
  EXPECT_EQ(line.at("epochs").size(), 2u);
  EXPECT_GT(expected.trainer.at("epochs").at("data").get<double>(),
            2 * expected.trainer.at("epochs").at("second").get<double>());

  const auto estimate = run(mixed("mixed-dry", {"--dry-run", "--json"}));
  const auto sources = nlohmann::json::parse(estimate.output).at("sources");
  EXPECT_EQ(sources.at(0).at("name"), "data");
  EXPECT_EQ(sources.at(0).at("share"), 0.75);
  EXPECT_EQ(sources.at(1).at("epochs"), expected.trainer.at("epochs").at("second"));

  test::overwrite(path("mix.toml"),
                  "[[source]]\ndata = \"data\"\nweight = 1\n[[source]]\ndata = \"other-data\"\nweight = 1\n");
  expect_refused(mixed("mixed", {"--resume"}), "are not those that");
}

TEST_F(Training, StopsOnSigtermAfterASaveAndSaysSo) {
  test::Process process(path("stopped"), training("stopped", {"--set", "checkpoint.every_steps=0"}));
  ASSERT_TRUE(process.wait_for_lines(path("stopped") + "/metrics.jsonl", 5));
  process.signal(SIGTERM);
  const auto finished = process.wait();
  EXPECT_EQ(finished.status, 143) << finished.messages;
  const auto saved = load_checkpoint(path("stopped"), true);
  EXPECT_GE(saved.step, 5);
  EXPECT_LT(saved.step, 60);
  EXPECT_EQ(run(training("stopped", {"--resume"})).status, 0);
  expect_same(load_checkpoint(path("stopped"), true).model, undisturbed().model);
}

TEST_F(Training, MetricsCarryWhatScriptsRead) {
  undisturbed();
  const auto metrics = read_metrics(path("undisturbed") + "/metrics.jsonl");
  const auto& step = metrics[0];
  for (const auto* key : {"step", "tokens", "seconds", "loss", "aux_loss", "ratio", "ratio_eval", "grad_norm", "lr",
                          "tokens_per_second", "mfu"}) {
    ASSERT_TRUE(step.contains(key)) << key;
    EXPECT_TRUE(step.at(key).is_number()) << key;
  }
  EXPECT_EQ(step.at("step"), 1);
  EXPECT_EQ(step.at("tokens"), 512);
  EXPECT_GT(step.at("mfu").get<double>(), 0.0);
  EXPECT_LT(step.at("mfu").get<double>(), 1.0);
  const auto& validation = metrics.back();
  for (const auto* key : {"val_loss", "val_bits_per_byte", "val_ratio", "val_ratio_half", "val_ratio_sampled"}) {
    EXPECT_TRUE(validation.contains(key)) << key;
  }
  EXPECT_LT(validation.at("val_loss").get<double>(), step.at("loss").get<double>() - 1.0);
}

TEST_F(Training, ABranchFromACheckpointGoesOnAtItsStepAndOtherDataStartAnew) {
  undisturbed();
  const auto from = path("undisturbed") + "/step-00000040";
  ASSERT_EQ(run(training("branch", {"--from", from, "--set", "train.steps=70"})).status, 0);
  const auto branch = read_metrics(path("branch") + "/metrics.jsonl");
  EXPECT_EQ(branch.front().at("step"), 41);
  EXPECT_EQ(branch.back().at("step"), 70);
  auto tuned = training("tuned", {"--from", from, "--set", "train.steps=10"});
  *std::find(tuned.begin(), tuned.end(), path("data")) = path("other-data");
  ASSERT_EQ(run(tuned).status, 0);
  const auto fine_tune = read_metrics(path("tuned") + "/metrics.jsonl");
  EXPECT_EQ(fine_tune.front().at("step"), 1);
  EXPECT_LT(fine_tune.front().at("loss").get<double>(),
            read_metrics(path("undisturbed") + "/metrics.jsonl").front().at("loss").get<double>() - 1.0);
}

TEST_F(Training, AModelThatIsNotFiniteStopsAfterARunOfSkippedStepsAndLosesNothing) {
  auto broken = undisturbed();
  broken.model.tensors["decoder_norm.gain"] = at::full_like(broken.model.tensors["decoder_norm.gain"], NAN);
  save_checkpoint(path("broken-source"), broken, 1);
  const auto finished = run(training("broken", {"--from", path("broken-source"), "--set", "train.steps=100", "--set",
                                                "optimizer.max_skipped_steps=4"}));
  EXPECT_EQ(finished.status, 1);
  EXPECT_NE(finished.messages.find("4 steps in a row"), std::string::npos) << finished.messages;
  EXPECT_EQ(read_metrics(path("broken") + "/metrics.jsonl").back().at("skipped_steps"), 3);
}

TEST_F(Training, RefusesWhatItCannotDoBeforeChangingAnything) {
  undisturbed();
  expect_refused(training("undisturbed"), "already holds a training");
  expect_refused(training("undisturbed", {"--resume", "--set", "model.token.width=32"}),
                 "model.token.width (16 before, 32 now)");
  expect_refused(training("undisturbed", {"--resume", "--set", "train.steps=90"}), "decay has begun");
  auto other = training("undisturbed", {"--resume"});
  *std::find(other.begin(), other.end(), path("data")) = path("other-data");
  expect_refused(other, "are not those that");
  expect_refused(training("nothing", {"--set", "train.stepz=3"}), "the nearest known one is train.steps");
  expect_refused(training("nothing", {"--set", "model.vocabulary=100"}), "smaller than the 258 ids");
  expect_refused(training("nothing", {"--set", "model.token.heads=3"}), "model.token");
  expect_refused(training("nothing", {"--set", "parser.ratio=1"}), "parser.ratio");
  expect_refused(training("nothing", {"--from", path("data")}), "checkpoint");
  expect_refused({"train", "--config", kConfig, "--output", path("nothing")}, "--data is missing");
  auto missing = training("nothing");
  *std::find(missing.begin(), missing.end(), path("data")) = path("no-such-data");
  expect_refused(missing, "no-such-data");
  EXPECT_FALSE(std::filesystem::exists(path("nothing")));
}

TEST_F(Training, AnEntropyRunGoesOnWithoutTheModelItTook) {
  auto llama = training("small-llama", {"--set", "train.steps=20"});
  llama[2] = std::string(DLCM_SOURCE_DIR) + "/configs/tiny-llama.toml";
  ASSERT_EQ(run(llama).status, 0);
  const std::vector<std::string> entropy{"--set", "parser.rule=entropy", "--set",
                                         "parser.entropy.model=" + path("small-llama")};
  const auto asked = [&](std::vector<std::string> more) {
    more.insert(more.begin(), entropy.begin(), entropy.end());
    return training("by-entropy", more);
  };
  ASSERT_EQ(run(asked({"--set", "train.steps=20"})).status, 0);
  std::filesystem::remove_all(path("small-llama"));
  const auto resumed = run(asked({"--resume", "--set", "train.steps=20", "--set", "eval.tokens=1024"}));
  EXPECT_EQ(resumed.status, 0) << resumed.messages;

  auto branch = training("branch-by-entropy", {"--from", path("by-entropy"), "--set", "parser.rule=entropy", "--set",
                                               "parser.entropy.model=another-model"});
  expect_refused(branch, "the checkpoint holds the weights of " + path("small-llama"));
}

TEST_F(Training, TwoTrainingsInOneRunDirectoryAreRefused) {
  test::Process first(path("first"), training("shared", {"--set", "train.steps=100000"}));
  ASSERT_TRUE(first.wait_for_lines(path("shared") + "/metrics.jsonl", 2));
  expect_refused(training("shared", {"--set", "train.steps=100000"}), "another training");
  first.signal(SIGKILL);
  first.wait();
}

TEST_F(Training, ADiskFullWhileSavingEndsWithOneSentenceAndTheOlderCheckpoint) {
  undisturbed();
  // The first checkpoint is made in peace; then no file may reach the size of model.safetensors.
  test::Process first(path("full"), training("full-disk"));
  ASSERT_TRUE(first.wait_for_lines(path("full-disk") + "/metrics.jsonl", 21));
  first.signal(SIGKILL);
  first.wait();
  const auto resumed = test::Process(path("full"), training("full-disk", {"--resume"}), 100000).wait();
  EXPECT_EQ(resumed.status, 1) << resumed.messages;
  EXPECT_NE(resumed.messages.find(".safetensors"), std::string::npos) << resumed.messages;
  const auto older = load_checkpoint(path("full-disk"), true);
  EXPECT_EQ(older.step % 20, 0);
  EXPECT_LT(older.step, 60);
  for (const auto& entry : std::filesystem::directory_iterator(path("full-disk"))) {
    EXPECT_EQ(entry.path().filename().string().find(".saving"), std::string::npos);
  }
  ASSERT_EQ(run(training("full-disk", {"--resume"})).status, 0);
  expect_same(load_checkpoint(path("full-disk"), true).model, undisturbed().model);
}

TEST_F(Training, ADryRunEstimatesAndWritesNothing) {
  const auto finished = run(training("dry", {"--dry-run", "--json"}));
  ASSERT_EQ(finished.status, 0) << finished.messages;
  const auto estimate = nlohmann::json::parse(finished.output);
  for (const auto* key : {"parameters", "flops_per_token", "seconds_per_step", "tokens_per_second", "seconds"}) {
    EXPECT_GT(estimate.at(key).get<double>(), 0.0) << key;
  }
  const auto& checkpointed = estimate.at("other_activation_checkpointing");
  EXPECT_GT(checkpointed.at("step_bytes").get<double>(), estimate.at("gradients_bytes").get<double>());
  EXPECT_LT(checkpointed.at("step_bytes").get<double>(), estimate.at("step_bytes").get<double>());
  EXPECT_GT(checkpointed.at("tokens_per_second").get<double>(), 0.0);
  EXPECT_EQ(finished.messages.find("profiling"), std::string::npos) << finished.messages;
  EXPECT_FALSE(std::filesystem::exists(path("dry")));
}

}  // namespace
}  // namespace dlcm
