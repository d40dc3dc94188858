#include "dlcm/util/stop_signal.h"

namespace dlcm {
namespace {

volatile std::sig_atomic_t last_signal = 0;

}  // namespace

StopSignal::StopSignal() {
  last_signal = 0;
  struct sigaction action {};
  action.sa_handler = [](int signal) { last_signal = signal; };
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigaction(SIGINT, &action, &previous_interrupt_);
  sigaction(SIGTERM, &action, &previous_terminate_);
}

StopSignal::~StopSignal() {
  sigaction(SIGINT, &previous_interrupt_, nullptr);
  sigaction(SIGTERM, &previous_terminate_, nullptr);
}

int StopSignal::received() const { return static_cast<int>(last_signal); }

}  // namespace dlcm
