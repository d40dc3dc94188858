// A few threads for work that would hold up the connections or the engine: parsing, tokenising, writing JSON. Tasks of
// one strand run one after the other.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace dlcm {

class TaskStrand {
 public:
  virtual ~TaskStrand() = default;
  // Runs `task` behind all that were posted before. It must not throw.
  virtual void post(std::function<void()> task) = 0;
};

class TaskThreads {
 public:
  explicit TaskThreads(size_t count);
  // Waits until all that was posted has run; nothing may be posted then.
  ~TaskThreads();
  TaskThreads(const TaskThreads&) = delete;
  TaskThreads& operator=(const TaskThreads&) = delete;

  // May outlive this, unused.
  std::shared_ptr<TaskStrand> strand();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace dlcm
