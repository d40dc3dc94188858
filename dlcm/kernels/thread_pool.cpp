#include "dlcm/kernels/thread_pool.h"

#include "dlcm/util/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <pthread.h>
#include <sched.h>

#include <chrono>

namespace dlcm {
namespace {

// Longer than what lies between the parallel regions of a decoded token, and far below a millisecond.
constexpr std::chrono::microseconds kSpin{100};

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Waits until `value` differs from `old`: awake for kSpin, then asleep.
void wait_while(const std::atomic<uint32_t>& value, uint32_t old, bool spins) {
  constexpr int kPausesPerClock = 32;
  if (spins) {
    const auto begin = std::chrono::steady_clock::now();
    do {
      for (int i = 0; i < kPausesPerClock; ++i) {
        if (value.load(std::memory_order_acquire) != old) return;
        pause();
      }
    } while (std::chrono::steady_clock::now() - begin < kSpin);
  }
  value.wait(old, std::memory_order_acquire);
}

std::vector<int> allowed_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> processors;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return processors;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) processors.push_back(i);
  }
  return processors;
}

void bind(std::thread& thread, int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  pthread_setaffinity_np(thread.native_handle(), sizeof(set), &set);  // a refusal costs speed, no more
}

}  // namespace

int ThreadPool::processors() {
  const auto count = allowed_processors().size();
  return count == 0 ? 1 : static_cast<int>(count);
}

ThreadPool::ThreadPool(int threads) {
  if (threads < 1) throw Error("expected at least one thread to compute with, found {}", threads);
  const auto processors = allowed_processors();
  const bool enough = static_cast<size_t>(threads) <= processors.size();
  caller_spins_ = enough;
  for (int i = 1; i < threads; ++i) {
    workers_.emplace_back([this, enough] { work(enough); });
    if (enough) bind(workers_.back(), processors[static_cast<size_t>(i)]);
  }
}

ThreadPool::~ThreadPool() {
  ending_ = true;
  ++region_;
  region_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::run_shared(int64_t count, Call call, const void* context) {
  call_ = call;
  context_ = context;
  unfinished_.store(static_cast<uint32_t>(count), std::memory_order_relaxed);
  tickets_.store(static_cast<uint64_t>(count) << 32, std::memory_order_release);
  region_.fetch_add(1, std::memory_order_release);
  region_.notify_all();
  take_tasks();
  for (uint32_t left = unfinished_.load(std::memory_order_acquire); left != 0;
       left = unfinished_.load(std::memory_order_acquire)) {
    wait_while(unfinished_, left, caller_spins_);
  }
}

void ThreadPool::take_tasks() {
  for (;;) {
    const uint64_t ticket = tickets_.fetch_add(1, std::memory_order_acq_rel);
    const uint64_t task = ticket & 0xFFFFFFFFu;
    if (task >= ticket >> 32) return;
    call_(context_, static_cast<int64_t>(task));
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  }
}

void ThreadPool::work(bool spins) {
  uint32_t seen = 0;
  while (!ending_.load(std::memory_order_acquire)) {
    take_tasks();
    wait_while(region_, seen, spins);
    seen = region_.load(std::memory_order_acquire);
  }
}

}  // namespace dlcm
