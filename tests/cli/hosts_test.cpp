// Four ranks on four "hosts", network namespaces joined by cables (scripts/hosts.sh): a rank killed, a rank stopped, a
// cable cut. Each ends the run, and a resume gives the weights of a run that nothing disturbed. Needs root.
#include "tests/support/distributed_training.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>

namespace dlcm {
namespace {

constexpr int kHosts = 4;
constexpr double kTimeoutSeconds = 4.0;
// What mpirun takes to give up a host whose cable is cut (scripts/hosts.sh sets it), and to end.
constexpr double kMpirunSeconds = 30.0;

class Hosts : public test::DistributedTraining {
 protected:
  void SetUp() override {
    if (!test::has_mpirun()) GTEST_SKIP() << "mpirun is not installed (Debian package openmpi-bin)";
    if (::geteuid() != 0) GTEST_SKIP() << "network namespaces need root";
    if (std::system("ip netns list >/dev/null 2>&1 && unshare --net --uts true 2>/dev/null") != 0) {
      GTEST_SKIP() << "this machine does not let root make network namespaces, or lacks iproute2";
    }
    if (hosts({"up", std::to_string(kHosts)}).status != 0) {
      hosts({"down"});
      GTEST_SKIP() << "this machine does not let root make a bridge between network namespaces";
    }
    up_ = true;
  }
  void TearDown() override {
    if (up_) hosts({"down"});
  }

  static std::vector<std::pair<std::string, std::string>> environment() {
    return {{"DLCM_HOSTS", "dt" + std::to_string(::getpid() % 10000)}, {"OMP_NUM_THREADS", "1"}};
  }
  static test::Process start(const std::string& scratch, const std::vector<std::string>& arguments) {
    return test::Process(path(scratch), std::string(DLCM_SOURCE_DIR) + "/scripts/hosts.sh", arguments, environment());
  }
  static test::Finished hosts(const std::vector<std::string>& arguments) { return start("hosts", arguments).wait(); }
  static test::Process train(const std::string& output, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"mpirun", DLCM_BINARY};
    auto settings = training(
        output, {"--set", "train.steps=300", "--set", "checkpoint.every_steps=50", "--set", "dist.sharding=gradients"});
    arguments.insert(arguments.end(), settings.begin(), settings.end());
    arguments.insert(arguments.end(), more.begin(), more.end());
    return start(output + "-process", arguments);
  }

 private:
  bool up_ = false;
};

TEST_F(Hosts, KilledStoppedOrCutOffEndsTheRunAndAResumeGivesTheSameBits) {
  const auto whole = train("whole").wait();
  ASSERT_EQ(whole.status, 0) << whole.messages;
  for (const std::string failure : {"killed", "stopped", "cut"}) {
    SCOPED_TRACE(failure);
    auto process = train(failure);
    ASSERT_TRUE(process.wait_for_lines(path(failure) + "/metrics.jsonl", 70));
    const auto begin = std::chrono::steady_clock::now();
    if (failure == "cut") {
      ASSERT_EQ(hosts({"cut", "3"}).status, 0);
    } else {
      const auto rank = process_of_rank(3, failure);
      ASSERT_GT(rank, 0);
      ASSERT_EQ(::kill(rank, failure == "killed" ? SIGKILL : SIGSTOP), 0);
    }
    const auto ended = process.wait();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("%s: ended after %.1f s with status %d\n%s\n", failure.c_str(), seconds, ended.status,
                ended.messages.c_str());
    EXPECT_NE(ended.status, 0);
    EXPECT_LT(seconds, kTimeoutSeconds + kMpirunSeconds);
    // mpirun itself names a process that ended by its number and address.
    EXPECT_NE(ended.messages.find(failure == "killed" ? "rank 3 " : "rank 3 on host host3"), std::string::npos)
        << ended.messages;
    if (failure == "cut") {
      ASSERT_EQ(hosts({"join", "3"}).status, 0);
    }
    const auto resumed = train(failure, {"--resume"}).wait();
    ASSERT_EQ(resumed.status, 0) << resumed.messages;
    expect_same(failure, "whole");
  }
}

}  // namespace
}  // namespace dlcm
