// SIGINT and SIGTERM as a note that long work looks at between two of its steps.
#pragma once

#include <csignal>

namespace dlcm {

// While it lives, SIGINT and SIGTERM only leave a note; a second one ends the process as usual. One at a time.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // The signal that came, 0 before.
  int received() const;

 private:
  struct sigaction previous_interrupt_ {
  }, previous_terminate_{};
};

}  // namespace dlcm
