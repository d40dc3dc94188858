// One training as a process of its own.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace dlcm {

struct ChildEnd {
  int status = 0;             // exit status
  std::optional<int> signal;  // that ended it
};

class ChildRun {
 public:
  // Starts `arguments` (the program first), its messages appended to `log`. It gets SIGTERM where this process dies.
  // Throws RuntimeFailure where it cannot be started.
  ChildRun(const std::vector<std::string>& arguments, std::string log);
  // Stops it and waits, where it is still there.
  ~ChildRun();
  ChildRun(const ChildRun&) = delete;
  ChildRun& operator=(const ChildRun&) = delete;

  // None while it runs.
  std::optional<ChildEnd> poll();
  // Asks it to save and end, by SIGINT: a SIGTERM that reaches it too (a cgroup's stop, this process's death) would
  // be the second of its kind otherwise, which ends a training without a save.
  void stop() const;
  // The last line that it wrote.
  std::string last_message() const;

 private:
  std::string log_;
  pid_t process_ = -1;
};

}  // namespace dlcm
