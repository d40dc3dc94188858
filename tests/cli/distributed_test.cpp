// Training under mpirun as a user runs it: the same losses and weights as on one rank, resumed on other numbers of
// ranks, stopped, killed, refused.
#include "tests/support/distributed_training.h"

#include <algorithm>
#include <filesystem>

namespace dlcm {
namespace {

class Distributed : public test::DistributedTraining {
 protected:
  void SetUp() override {
    if (!test::has_mpirun()) GTEST_SKIP() << "mpirun is not installed (Debian package openmpi-bin)";
  }
  static test::Process start(int ranks, const std::string& output, const std::vector<std::string>& more = {}) {
    return ranks == 0 ? test::Process(path(output + "-process"), training(output, more))  // without mpirun
                      : test::mpi_process(path(output + "-process"), ranks, DLCM_BINARY, training(output, more));
  }
  static test::Finished run(int ranks, const std::string& output, const std::vector<std::string>& more = {}) {
    return start(ranks, output, more).wait();
  }
  // To what rounding becomes in thirty steps; the draws and boundaries are the same.
  static void expect_near(const std::string& output, const std::string& expected_output) {
    const auto actual = steps_of(output), expected = steps_of(expected_output);
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      EXPECT_EQ(actual[i].at("step"), expected[i].at("step"));
      EXPECT_NEAR(actual[i].at("loss").get<double>(), expected[i].at("loss").get<double>(), 1e-3) << i;
      EXPECT_NEAR(actual[i].at("ratio").get<double>(), expected[i].at("ratio").get<double>(), 0.05) << i;
    }
  }
};

TEST_F(Distributed, RanksAndShardingsTrainAlikeAndGoOnFromEachOther) {
  ASSERT_EQ(run(0, "single").status, 0);
  ASSERT_EQ(run(4, "four").status, 0);
  expect_near("four", "single");
  const auto line = steps_of("four").front();
  EXPECT_EQ(line.at("ranks"), 4);
  EXPECT_GE(line.at("slowest_to_mean").get<double>(), 1.0);
  EXPECT_GT(line.at("bytes_sent").get<int64_t>(), 0);
  const auto validation = [](const std::string& output) {
    for (const auto& entry : read_metrics(path(output) + "/metrics.jsonl")) {
      if (entry.contains("val_loss")) return entry;
    }
    return nlohmann::json();
  };
  EXPECT_NEAR(validation("four").at("val_loss").get<double>(), validation("single").at("val_loss").get<double>(), 1e-3);

  for (const std::string sharding : {"optimizer", "gradients"}) {
    ASSERT_EQ(run(4, sharding, {"--set", "dist.sharding=" + sharding}).status, 0);
    expect_same(sharding, "four");
  }
  // Twenty steps on four ranks, ten on others; every verb reads what four wrote.
  for (const int ranks : {0, 1, 2}) {
    const auto output = "resumed-by-" + std::to_string(ranks);
    std::filesystem::copy(path("gradients"), path(output), std::filesystem::copy_options::recursive);
    std::filesystem::remove_all(path(output) + "/step-00000030");
    const auto resumed = run(ranks, output, {"--resume", "--set", "dist.sharding=optimizer"});
    ASSERT_EQ(resumed.status, 0) << resumed.messages;
    expect_near(output, "single");
  }
}

// The trainings are longer than any machine takes for them here, so that a signal always comes before the end: what is
// compared is a checkpoint on the way.
TEST_F(Distributed, SigtermToMpirunSavesAndAResumeGivesTheSameBits) {
  const auto longer = [](int64_t checkpoint_steps) {
    return std::vector<std::string>{
        "--set", "train.steps=100000",   "--set", "dist.sharding=gradients",
        "--set", "eval.every_steps=0",   "--set", "checkpoint.every_steps=" + std::to_string(checkpoint_steps),
        "--set", "checkpoint.keep=1000",
    };
  };
  const auto stop = [](test::Process& process) {
    process.signal(SIGTERM);
    const auto stopped = process.wait();
    EXPECT_NE(stopped.status, 0);
    EXPECT_NE(stopped.messages.find("everything is saved"), std::string::npos) << stopped.messages;
  };
  auto process = start(2, "stopped", longer(0));
  ASSERT_TRUE(process.wait_for_lines(path("stopped") + "/metrics.jsonl", 3));
  stop(process);
  const auto saved = checkpoint_of("stopped").step;
  EXPECT_GE(saved, 3);

  const auto later = 2 * saved;
  auto resuming = longer(later);
  resuming.push_back("--resume");
  for (const auto& [output, arguments] : {std::pair{"stopped", resuming}, std::pair{"undisturbed", longer(later)}}) {
    auto going_on = start(2, output, arguments);
    ASSERT_TRUE(going_on.wait_for_file(checkpoint_path(output, later))) << output;
    stop(going_on);
  }
  expect_same(load_checkpoint(checkpoint_path("stopped", later), true),
              load_checkpoint(checkpoint_path("undisturbed", later), true));
}

TEST_F(Distributed, ARankKilledOrStoppedEndsTheRunAndAResumeGivesTheSameBits) {
  const std::vector<std::string> longer{"--set", "train.steps=400",   "--set", "checkpoint.every_steps=100",
                                        "--set", "eval.every_steps=0"};
  ASSERT_EQ(run(2, "whole", longer).status, 0);
  for (const int signal : {SIGKILL, SIGSTOP}) {
    const auto output = "signal" + std::to_string(signal);
    auto process = start(2, output, longer);
    ASSERT_TRUE(process.wait_for_lines(path(output) + "/metrics.jsonl", 1));
    const auto rank = process_of_rank(1, output);
    ASSERT_GT(rank, 0);
    ASSERT_TRUE(process.wait_for_lines(path(output) + "/metrics.jsonl", 120));
    ASSERT_EQ(::kill(rank, signal), 0);
    const auto ended = process.wait();
    EXPECT_NE(ended.status, 0);
    EXPECT_NE(ended.messages.find("rank 1 "), std::string::npos) << ended.messages;
    auto resuming = longer;
    resuming.push_back("--resume");
    const auto resumed = run(2, output, resuming);
    ASSERT_EQ(resumed.status, 0) << resumed.messages;
    expect_same(output, "whole");
  }
}

TEST_F(Distributed, RanksThatWouldNotTrainTheSameAreRefused) {
  const auto refused = [](const std::vector<std::string>& first, const std::vector<std::string>& second,
                          const std::string& reason) {
    std::vector<std::string> arguments{"-np", "1", DLCM_BINARY};
    arguments.insert(arguments.end(), first.begin(), first.end());
    arguments.insert(arguments.end(), {":", "-np", "1", DLCM_BINARY});
    arguments.insert(arguments.end(), second.begin(), second.end());
    const auto finished = test::Process(path("refused"), "mpirun", arguments, test::mpi_environment()).wait();
    EXPECT_EQ(finished.status, 2) << finished.messages;
    EXPECT_NE(finished.messages.find(reason), std::string::npos) << finished.messages;
    const auto at = finished.messages.find("dlcm: ");
    ASSERT_NE(at, std::string::npos);
    EXPECT_EQ(finished.messages.find("dlcm: ", at + 1), std::string::npos) << "said twice: " << finished.messages;
    EXPECT_FALSE(std::filesystem::exists(path("none")));
  };
  refused(training("none"), training("none", {"--set", "train.seed=7"}), "has train.seed 7, where rank 0");
  refused(training("none"), training("none", {"--set", "train.stepz=7"}), ": --set train.stepz");
  auto elsewhere = training("none");
  std::replace(elsewhere.begin(), elsewhere.end(), path("data"), path("no-data"));
  refused(training("none"), elsewhere, "rank 1 on host");
  refused(elsewhere, elsewhere, "no-data");
}

TEST_F(Distributed, MoreRanksThanWindowsAreRefused) {
  const auto finished = run(3, "too-many", {"--set", "train.tokens_per_step=128"});
  EXPECT_EQ(finished.status, 2);
  EXPECT_NE(finished.messages.find("3 ranks were started, but a step of train.tokens_per_step = 128 has 2 windows"),
            std::string::npos)
      << finished.messages;
}

TEST_F(Distributed, ADryRunSaysWhatARankHolds) {
  const auto estimate_of = [](int ranks, const std::string& sharding) {
    const auto finished = run(ranks, "dry", {"--dry-run", "--json", "--set", "dist.sharding=" + sharding});
    EXPECT_EQ(finished.status, 0) << finished.messages;
    return nlohmann::json::parse(finished.output);
  };
  const auto one = estimate_of(0, "none"), none = estimate_of(2, "none"), optimizer = estimate_of(2, "optimizer"),
             gradients = estimate_of(2, "gradients");
  const auto bytes = [](const nlohmann::json& estimate, const char* key) { return estimate.at(key).get<double>(); };
  EXPECT_EQ(none.at("ranks"), 2);
  EXPECT_EQ(none.at("optimizer_bytes"), one.at("optimizer_bytes"));
  EXPECT_NEAR(bytes(optimizer, "optimizer_bytes"), bytes(one, "optimizer_bytes") / 2, 4000);
  EXPECT_EQ(optimizer.at("gradients_bytes"), none.at("gradients_bytes"));
  EXPECT_NEAR(bytes(gradients, "gradients_bytes"), bytes(one, "gradients_bytes") / 2, 4000);
  EXPECT_GT(bytes(none, "bytes_sent_per_step"), 0.0);
}

TEST(ClusterPlan, SimulatesAConfigurationWithoutAFit) {
  const test::TemporaryDirectory directory;
  test::overwrite(directory / "cluster.toml",
                  "[cluster]\ndevices = 6\npeak_tflops = 100\nmemory_gib = 80\nmfu = 0.4\nlink_gbit = 100\n");
  const std::vector<std::string> plan{"plan", "--cluster", directory / "cluster.toml", "--config",
                                      std::string(DLCM_SOURCE_DIR) + "/configs/base.toml"};
  auto json = plan;
  json.insert(json.end(), {"--tokens", "1e9", "--json"});
  const auto finished = test::Process(directory / "plan", json).wait();
  ASSERT_EQ(finished.status, 0) << finished.messages;
  const auto result = nlohmann::json::parse(finished.output);
  EXPECT_EQ(result.at("steps").size(), 4u) << "1, 2, 4 and 6 devices";
  EXPECT_EQ(result.at("tokens"), 1e9);
  EXPECT_NE(test::Process(directory / "plan", plan).wait().output.find("efficiency"), std::string::npos);
  EXPECT_EQ(test::Process(directory / "plan", {"plan", "--cluster", directory / "cluster.toml"}).wait().status, 2);
}

}  // namespace
}  // namespace dlcm
