// The MPI communicator under mpirun: this binary starts itself on several ranks. What a rank does is in the tests
// MpiRank.*, which exist there alone.
#include "dlcm/dist/mpi_communicator.h"

#include "tests/io/temporary_directory.h"
#include "tests/support/mpi.h"

#include <gtest/gtest.h>

#include <ATen/CPUGeneratorImpl.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

namespace dlcm {
namespace {

constexpr double kTimeoutSeconds = 1.5;
// What mpirun itself may take to end a job, on a busy machine.
constexpr double kMpirunSeconds = 30.0;

struct Ended {
  test::Finished finished;
  double seconds = 0.0;
};

Ended run_ranks(int ranks, const std::string& test) {
  const test::TemporaryDirectory directory;
  const auto start = std::chrono::steady_clock::now();
  auto process = test::mpi_process(directory / "ranks", ranks, std::filesystem::read_symlink("/proc/self/exe").string(),
                                   {"--gtest_filter=MpiRank." + test});
  auto finished = process.wait();
  return {std::move(finished), std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

at::Tensor values_of(int64_t rank, int64_t seed, int64_t count, at::ScalarType type) {
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(1000 * seed + rank));
  auto values = at::empty({count}, at::kDouble).normal_(0.0, 100.0, generator);
  return values.to(type);
}

at::Tensor sum_of(int64_t ranks, int64_t seed, int64_t count, at::ScalarType type) {
  auto sum = values_of(0, seed, count, type);
  for (int64_t rank = 1; rank < ranks; ++rank) sum.add_(values_of(rank, seed, count, type));
  return sum;
}

void collectives() {
  MpiCommunicator communicator;
  communicator.watch(30.0);
  const int64_t ranks = communicator.world_size(), rank = communicator.rank();
  int64_t seed = 0;
  for (const auto type : {at::kFloat, at::kDouble, at::kLong}) {
    for (const int64_t part : {0, 1, 7, 4097, 200'000}) {
      const int64_t count = part * ranks;
      auto sum = values_of(rank, ++seed, count, type);
      communicator.reduce_scatter_sum(sum)->wait();
      EXPECT_TRUE(
          at::equal(sum.narrow(0, rank * part, part), sum_of(ranks, seed, count, type).narrow(0, rank * part, part)))
          << part << " " << type;
      auto gathered = at::zeros({count}, type);
      gathered.narrow(0, rank * part, part).copy_(values_of(rank, seed, part, type));
      communicator.all_gather(gathered)->wait();
      for (int64_t other = 0; other < ranks; ++other) {
        EXPECT_TRUE(at::equal(gathered.narrow(0, other * part, part), values_of(other, seed, part, type)));
      }
    }
  }
  // Many at once, waited for in another order.
  std::vector<at::Tensor> tensors;
  std::vector<Pending> pending;
  for (int64_t i = 0; i < 20; ++i) {
    tensors.push_back(values_of(rank, 100 + i, 64 * ranks, at::kFloat));
    pending.push_back(communicator.reduce_scatter_sum(tensors.back()));
    pending.push_back(communicator.all_gather(tensors.back()));
  }
  for (size_t i = pending.size(); i-- > 0;) pending[i]->wait();
  for (int64_t i = 0; i < 20; ++i) {
    EXPECT_TRUE(at::equal(tensors[static_cast<size_t>(i)], sum_of(ranks, 100 + i, 64 * ranks, at::kFloat)));
  }
  const auto traffic = communicator.traffic();
  const auto texts = communicator.all_gather_text(std::string(static_cast<size_t>(10 * rank), 'x'));
  EXPECT_EQ(texts.back().size(), static_cast<size_t>(10 * (ranks - 1)));
  if (ranks > 1) {
    EXPECT_GT(traffic.waited_seconds, 0.0);
    EXPECT_EQ(communicator.traffic().bytes_sent - traffic.bytes_sent, (ranks - 1) * (8 + 10 * (ranks - 1)));
  }
  EXPECT_TRUE(communicator.any(rank == ranks - 1));
  if (ranks > 1) {
    EXPECT_THROW(communicator.all_gather(at::zeros({ranks + 1})), c10::Error) << "unequal parts";
  }
  EXPECT_THROW(communicator.reduce_scatter_sum(at::zeros({ranks}, at::kByte)), c10::Error);
}

// Longer than the timeout without a collective: heartbeats alone keep the job alive.
void is_busy_for_long() {
  MpiCommunicator communicator;
  communicator.watch(kTimeoutSeconds);
  if (communicator.rank() == 1) std::this_thread::sleep_for(std::chrono::duration<double>(3 * kTimeoutSeconds));
  communicator.barrier();
}

void fall_out(int64_t who, const std::function<void()>& how) {
  MpiCommunicator communicator;
  communicator.watch(kTimeoutSeconds);
  communicator.barrier();
  if (communicator.rank() == who) how();
  communicator.barrier();
}

void one_is_stopped() {
  fall_out(2, [] { ::raise(SIGSTOP); });
}

void the_first_is_stopped() {
  fall_out(0, [] { ::raise(SIGSTOP); });
}

void one_is_killed() {
  fall_out(1, [] { ::raise(SIGKILL); });
}

void one_does_nothing() {
  fall_out(1, [] { std::this_thread::sleep_for(std::chrono::hours(1)); });
}

void one_ends_the_job() {
  MpiCommunicator communicator;
  communicator.watch(kTimeoutSeconds);
  communicator.barrier();
  if (communicator.rank() == 1) communicator.end_job(3);
  communicator.barrier();
}

// What a rank does, tests that exist in the processes that mpirun has started and nowhere else.
class MpiRank : public testing::Test {
 public:
  explicit MpiRank(void (*body)()) : body_(body) {}
  void TestBody() override { body_(); }

 private:
  void (*body_)();
};

[[maybe_unused]] const bool kRegistered = [] {
  if (std::getenv("OMPI_COMM_WORLD_RANK") == nullptr) return false;
  const std::vector<std::pair<const char*, void (*)()>> bodies{
      {"Collectives", collectives},        {"IsBusyForLong", is_busy_for_long},
      {"OneIsStopped", one_is_stopped},    {"TheFirstIsStopped", the_first_is_stopped},
      {"OneIsKilled", one_is_killed},      {"OneDoesNothing", one_does_nothing},
      {"OneEndsTheJob", one_ends_the_job},
  };
  for (const auto& [name, body] : bodies) {
    testing::RegisterTest("MpiRank", name, nullptr, nullptr, __FILE__, __LINE__,
                          [body = body]() -> MpiRank* { return new MpiRank(body); });
  }
  return true;
}();

class Mpi : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::has_mpirun()) GTEST_SKIP() << "mpirun is not installed (Debian package openmpi-bin)";
  }
};

TEST_F(Mpi, CollectivesAddInRankOrderWhateverTheSizeTypeAndRanks) {
  for (const int ranks : {1, 2, 3, 4}) {
    const auto ended = run_ranks(ranks, "Collectives");
    EXPECT_EQ(ended.finished.status, 0) << ended.finished.output << ended.finished.messages;
    EXPECT_NE(ended.finished.output.find("1 test from 1 test suite ran"), std::string::npos) << ended.finished.output;
  }
}

TEST_F(Mpi, ARankThatComputesForLongIsLeftInPeace) {
  const auto ended = run_ranks(3, "IsBusyForLong");
  EXPECT_EQ(ended.finished.status, 0) << ended.finished.messages;
  EXPECT_GT(ended.seconds, 3 * kTimeoutSeconds);
}

TEST_F(Mpi, ARankThatIsStoppedEndsTheJobAndIsNamed) {
  const auto ended = run_ranks(4, "OneIsStopped");
  EXPECT_NE(ended.finished.status, 0);
  EXPECT_NE(ended.finished.messages.find("dlcm: rank 2 on host "), std::string::npos) << ended.finished.messages;
  EXPECT_LT(ended.seconds, 3 * kTimeoutSeconds + kMpirunSeconds);
}

TEST_F(Mpi, ItMayBeTheFirstRank) {
  const auto ended = run_ranks(3, "TheFirstIsStopped");
  EXPECT_NE(ended.finished.status, 0);
  EXPECT_NE(ended.finished.messages.find("dlcm: rank 0 on host "), std::string::npos) << ended.finished.messages;
  EXPECT_LT(ended.seconds, 3 * kTimeoutSeconds + kMpirunSeconds);
}

TEST_F(Mpi, ARankThatIsKilledEndsTheJob) {
  const auto ended = run_ranks(3, "OneIsKilled");
  EXPECT_NE(ended.finished.status, 0);
  EXPECT_NE(ended.finished.messages.find("rank 1 "), std::string::npos) << ended.finished.messages;
  EXPECT_LT(ended.seconds, 3 * kTimeoutSeconds + kMpirunSeconds);
}

TEST_F(Mpi, ARankThatLivesButDoesNothingEndsTheJobTenTimesLater) {
  const auto ended = run_ranks(3, "OneDoesNothing");
  EXPECT_NE(ended.finished.status, 0);
  EXPECT_NE(ended.finished.messages.find("lives but has done nothing"), std::string::npos) << ended.finished.messages;
  EXPECT_NE(ended.finished.messages.find("dlcm: rank 1 on host "), std::string::npos) << ended.finished.messages;
  EXPECT_GT(ended.seconds, 10 * kTimeoutSeconds);
  EXPECT_LT(ended.seconds, 11 * kTimeoutSeconds + kMpirunSeconds);
}

TEST_F(Mpi, ARankMayEndTheJob) {
  const auto ended = run_ranks(3, "OneEndsTheJob");
  EXPECT_EQ(ended.finished.status, 3) << ended.finished.messages;
}

}  // namespace
}  // namespace dlcm
