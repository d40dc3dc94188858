#include "dlcm/util/worker_threads.h"

#include <ATen/Parallel.h>

#include <algorithm>

namespace dlcm {

WorkerThreads::WorkerThreads(int64_t count) : count_(count), errors_(static_cast<size_t>(count)) {
  TORCH_CHECK(count >= 1, "WorkerThreads: expected at least one worker, found ", count);
  if (count == 1) return;
  const int all = at::get_num_threads();
  working_ = count;
  for (int64_t worker = 0; worker < count; ++worker) {
    threads_.emplace_back(&WorkerThreads::work, this, worker, std::max(1, all / static_cast<int>(count)));
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return working_ == 0; });
  at::set_num_threads(all);  // the workers' numbers are also what later threads would begin with
}

WorkerThreads::~WorkerThreads() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void WorkerThreads::run(const std::function<void(int64_t)>& task) {
  if (count_ == 1) return task(0);
  std::unique_lock lock(mutex_);
  task_ = &task;
  working_ = count_;
  ++round_;
  std::fill(errors_.begin(), errors_.end(), nullptr);
  changed_.notify_all();
  changed_.wait(lock, [&] { return working_ == 0; });
  for (const auto& error : errors_) {
    if (error) std::rethrow_exception(error);
  }
}

void WorkerThreads::work(int64_t worker, int threads) {
  at::get_num_threads();  // its first call takes over the process's number, a later one would undo the next line
  at::set_num_threads(threads);
  std::unique_lock lock(mutex_);
  for (int64_t done = 0;;) {
    if (--working_ == 0) changed_.notify_all();
    changed_.wait(lock, [&] { return ending_ || round_ > done; });
    if (ending_) return;
    done = round_;
    const auto& task = *task_;
    lock.unlock();
    std::exception_ptr error;
    try {
      task(worker);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    errors_[static_cast<size_t>(worker)] = error;
  }
}

}  // namespace dlcm
