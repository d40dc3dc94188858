// Threads that compute side by side, each with its share of LibTorch's threads.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace dlcm {

class WorkerThreads {
 public:
  // `count` threads (at least 1), whose operations run on 1 / count of the threads now set each. One worker is the
  // calling thread itself.
  explicit WorkerThreads(int64_t count);
  ~WorkerThreads();
  WorkerThreads(const WorkerThreads&) = delete;
  WorkerThreads& operator=(const WorkerThreads&) = delete;

  int64_t size() const { return count_; }

  // Calls task(0) ... task(size() - 1) side by side and returns when all have ended. Throws what the first of them, in
  // this order, has thrown.
  void run(const std::function<void(int64_t)>& task);

 private:
  void work(int64_t worker, int threads);

  int64_t count_;
  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void(int64_t)>* task_ = nullptr;
  int64_t round_ = 0;    // of tasks given out
  int64_t working_ = 0;  // workers that have not ended this round
  bool ending_ = false;
  std::vector<std::exception_ptr> errors_;
  std::vector<std::thread> threads_;
};

}  // namespace dlcm
