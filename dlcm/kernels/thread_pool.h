// Threads that share thousands of tiny tasks a second: a decoded token is some hundred parallel regions of a few
// microseconds to milliseconds each. Workers spin for a moment before they sleep, each on a processor of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace dlcm {

class ThreadPool {
 public:
  // `threads` (at least 1) counts the thread that calls run(). Each other one is bound to a processor while there are
  // enough of them; the caller is left as it is.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(0) ... task(count - 1), each once on some thread, and returns when all have ended. Which thread takes
  // which task is open, so results must not depend on it. Tasks do not throw and do not call run(). One caller at a
  // time.
  template <typename Task>
  void run(int64_t count, const Task& task) {
    static_assert(std::is_invocable_v<const Task&, int64_t>);
    if (workers_.empty() || count <= 1) {
      for (int64_t i = 0; i < count; ++i) task(i);
      return;
    }
    run_shared(
        count, [](const void* context, int64_t i) { (*static_cast<const Task*>(context))(i); }, &task);
  }

  // Processors this process may run on.
  static int processors();

 private:
  using Call = void (*)(const void* context, int64_t task);

  void run_shared(int64_t count, Call call, const void* context);
  void take_tasks();
  void work(bool spins);

  // What the tasks are; changed only while none is left to take or under way.
  Call call_ = nullptr;
  const void* context_ = nullptr;
  // Each on a cache line of its own. The upper half of tickets_ is the number of tasks, the lower the next one to take:
  // a worker that comes late, even to another region than it was woken for, finds a task to take or none.
  alignas(64) std::atomic<uint64_t> tickets_{0};
  alignas(64) std::atomic<uint32_t> unfinished_{0};
  alignas(64) std::atomic<uint32_t> region_{0};
  alignas(64) std::atomic<bool> ending_{false};
  bool caller_spins_ = true;
  std::vector<std::thread> workers_;
};

}  // namespace dlcm
