// A small data set and trainings on it under mpirun.
#pragma once

#include "dlcm/io/checkpoint_store.h"
#include "dlcm/io/metrics.h"
#include "tests/io/temporary_directory.h"
#include "tests/support/mpi.h"
#include "tests/support/words.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace dlcm::test {

class DistributedTraining : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<TemporaryDirectory>();
    overwrite(path("text.txt"), text_of_words(11, 200));
    const auto built = Process(path("scratch"), {"data", "build", "--tokenizer", "bytes", "--input", path("text.txt"),
                                                 "--output", path("data")})
                           .wait();
    ASSERT_EQ(built.status, 0) << built.messages;
  }
  static void TearDownTestSuite() { directory_.reset(); }

  static std::string path(const std::string& name) { return *directory_ / name; }
  static std::vector<std::string> training(const std::string& output, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"train",     "--config",   std::string(DLCM_SOURCE_DIR) + "/configs/tiny.toml",
                                       "--data",    path("data"), "--output",
                                       path(output)};
    for (const char* setting : {"train.threads=1", "train.workers=1", "train.precision=fp32", "train.steps=30",
                                "train.context=64", "train.micro_batch_tokens=128", "checkpoint.every_steps=10",
                                "eval.every_steps=15", "eval.tokens=8192", "dist.timeout_seconds=4"}) {
      arguments.insert(arguments.end(), {"--set", setting});
    }
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  static std::vector<nlohmann::json> steps_of(const std::string& output) {
    std::vector<nlohmann::json> steps;
    for (auto& line : read_metrics(path(output) + "/metrics.jsonl")) {
      if (line.contains("loss")) steps.push_back(std::move(line));
    }
    return steps;
  }
  static Checkpoint checkpoint_of(const std::string& output) { return load_checkpoint(path(output), true); }
  static std::string checkpoint_path(const std::string& output, int64_t step) {
    return fmt::format("{}/step-{:08}", path(output), step);
  }
  static void expect_same(const std::string& output, const std::string& expected_output) {
    expect_same(checkpoint_of(output), checkpoint_of(expected_output));
  }
  static void expect_same(const Checkpoint& actual, const Checkpoint& expected) {
    EXPECT_EQ(actual.step, expected.step);
    for (const auto& [left, right] :
         {std::pair{&actual.model, &expected.model}, std::pair{&actual.optimizer, &expected.optimizer}}) {
      ASSERT_EQ(left->tensors.size(), right->tensors.size());
      for (const auto& [name, tensor] : left->tensors) EXPECT_TRUE(at::equal(tensor, right->tensors.at(name))) << name;
    }
  }

  // The process of a rank that trains into `output`; -1 where there is none.
  static pid_t process_of_rank(int rank, const std::string& output) {
    const auto wanted = "OMPI_COMM_WORLD_RANK=" + std::to_string(rank) + '\0';
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const auto name = entry.path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const auto arguments = content_of(entry.path() / "cmdline"), environment = content_of(entry.path() / "environ");
      if (arguments.find(path(output)) == std::string::npos || environment.find(wanted) == std::string::npos) continue;
      return std::stoi(name);
    }
    return -1;
  }

 private:
  static inline std::unique_ptr<TemporaryDirectory> directory_;
};

}  // namespace dlcm::test
