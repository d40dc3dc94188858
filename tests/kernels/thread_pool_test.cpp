#include "dlcm/kernels/thread_pool.h"

#include "dlcm/util/error.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

namespace dlcm {
namespace {

double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

TEST(ThreadPool, EveryTaskRunsOnce) {
  std::mt19937_64 random(1);
  for (const int threads : {1, 2, 3, 9}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int region = 0; region < 2000; ++region) {
      const auto count = static_cast<int64_t>(random() % 40);
      std::vector<int> times(static_cast<size_t>(count));
      pool.run(count, [&](int64_t task) { ++times[static_cast<size_t>(task)]; });
      EXPECT_EQ(times, std::vector<int>(static_cast<size_t>(count), 1));
    }
  }
}

TEST(ThreadPool, WhatTasksWroteIsSeenAfterTheRegion) {
  ThreadPool pool(4);
  std::vector<int64_t> values(1000, 0);
  for (int region = 0; region < 500; ++region) {
    pool.run(1000, [&](int64_t task) { values[static_cast<size_t>(task)] += task; });
  }
  EXPECT_EQ(std::accumulate(values.begin(), values.end(), int64_t{0}), 500 * 999 * 1000 / 2);
}

TEST(ThreadPool, SleepersWakeUp) {
  ThreadPool pool(3);
  std::atomic<int> done{0};
  for (int region = 0; region < 20; ++region) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    pool.run(3, [&](int64_t) { ++done; });
  }
  EXPECT_EQ(done, 60);
}

TEST(ThreadPool, TasksRunSideBySide) {
  ThreadPool pool(2);
  std::atomic<int> waiting{0};
  pool.run(2, [&](int64_t) {
    ++waiting;
    const auto begin = std::chrono::steady_clock::now();
    while (waiting < 2 && std::chrono::steady_clock::now() - begin < std::chrono::seconds(20))
      std::this_thread::yield();
  });
  EXPECT_EQ(waiting, 2);
}

TEST(ThreadPool, AnIdlePoolTakesNoProcessorTime) {
  ThreadPool pool(4);
  pool.run(100, [](int64_t) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const double before = processor_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(processor_seconds() - before, 0.005);
}

TEST(ThreadPool, ManyPoolsComeAndGo) {
  for (int i = 0; i < 200; ++i) {
    ThreadPool pool(1 + i % 5);
    std::atomic<int> done{0};
    pool.run(i % 7, [&](int64_t) { ++done; });
    EXPECT_EQ(done, i % 7);
  }
}

TEST(ThreadPool, NoThreadsAreAnError) { EXPECT_THROW(ThreadPool(0), Error); }

}  // namespace
}  // namespace dlcm
