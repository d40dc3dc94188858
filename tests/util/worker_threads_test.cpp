#include "dlcm/util/worker_threads.h"

#include "tests/support/gradients.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <stdexcept>

namespace dlcm {
namespace {

TEST(WorkerThreads, RunEachTaskOnceOnAThreadOfItsOwnAndAtTheSameTime) {
  for (const int64_t count : {1, 2, 5}) {
    WorkerThreads workers(count);
    EXPECT_EQ(workers.size(), count);
    for (int round = 0; round < 20; ++round) {
      std::vector<std::thread::id> ids(static_cast<size_t>(count));
      std::atomic<int64_t> arrived{0};
      workers.run([&](int64_t worker) {
        ids[static_cast<size_t>(worker)] = std::this_thread::get_id();
        ++arrived;
        while (arrived < count) std::this_thread::yield();  // ends only where all run side by side
      });
      EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), static_cast<size_t>(count));
    }
  }
}

TEST(WorkerThreads, ShareTheThreadsAndLeaveTheCallersAlone) {
  const test::Threads four{4};
  for (const int64_t count : {1, 2, 3, 8}) {
    WorkerThreads workers(count);
    EXPECT_EQ(at::get_num_threads(), 4);
    std::vector<int> threads(static_cast<size_t>(count));
    workers.run([&](int64_t worker) {
      // A parallel loop is where a thread would fall back to the process's number.
      at::parallel_for(0, 100, 1, [](int64_t, int64_t) {});
      threads[static_cast<size_t>(worker)] = at::get_num_threads();
    });
    EXPECT_EQ(threads, std::vector(static_cast<size_t>(count), std::max(1, 4 / static_cast<int>(count))));
    EXPECT_EQ(at::get_num_threads(), 4);
  }
}

TEST(WorkerThreads, ThrowTheFirstErrorWhenAllHaveEnded) {
  WorkerThreads workers(3);
  std::atomic<int> ended{0};
  const auto task = [&](int64_t worker) {
    if (worker > 0) {
      ++ended;
      throw std::runtime_error(worker == 1 ? "one" : "two");
    }
    ++ended;
  };
  try {
    workers.run(task);
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "one");
  }
  EXPECT_EQ(ended, 3);
  workers.run([&](int64_t) { ++ended; });  // no error is left over
  EXPECT_EQ(ended, 6);
}

TEST(WorkerThreads, ThereIsAtLeastOne) { EXPECT_THROW(WorkerThreads(0), c10::Error); }

}  // namespace
}  // namespace dlcm
