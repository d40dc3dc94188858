#include "dlcm/sweep/child_run.h"

#include "dlcm/io/files.h"
#include "dlcm/util/error.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace dlcm {
namespace {

constexpr int64_t kTailBytes = 4096;

std::optional<ChildEnd> wait_for(pid_t process, int options) {
  int status = 0;
  pid_t ended = -1;
  do {
    ended = ::waitpid(process, &status, options);
  } while (ended < 0 && errno == EINTR);
  if (ended < 0) throw RuntimeFailure("cannot wait for process {}: {}", process, std::strerror(errno));
  if (ended != process) return std::nullopt;
  if (WIFSIGNALED(status)) return ChildEnd{128 + WTERMSIG(status), WTERMSIG(status)};
  return ChildEnd{WEXITSTATUS(status), std::nullopt};
}

}  // namespace

ChildRun::ChildRun(const std::vector<std::string>& arguments, std::string log) : log_(std::move(log)) {
  std::vector<char*> pointers;
  for (const auto& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  const pid_t parent = ::getpid();
  process_ = ::fork();
  if (process_ < 0)
    throw RuntimeFailure("cannot start another process ({}): see the system's limits", std::strerror(errno));
  if (process_ > 0) return;
  // A group of its own: Ctrl-C reaches the sweep alone, which passes one signal on.
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(143);
  ::dup2(::open("/dev/null", O_RDWR), 0);
  ::dup2(0, 1);
  ::dup2(::open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666), 2);
  ::execv(pointers[0], pointers.data());
  ::_exit(127);
}

ChildRun::~ChildRun() {
  if (process_ < 0) return;
  stop();
  try {
    wait_for(process_, 0);
  } catch (const Error&) {
    // Somebody else has waited for it: it is gone.
  }
}

std::optional<ChildEnd> ChildRun::poll() {
  const auto end = wait_for(process_, WNOHANG);
  if (end) process_ = -1;
  return end;
}

void ChildRun::stop() const {
  if (process_ > 0) ::kill(process_, SIGINT);
}

std::string ChildRun::last_message() const {
  const InputFile file(log_);
  const int64_t length = std::min(file.bytes(), kTailBytes);
  std::string tail(static_cast<size_t>(length), '\0');
  file.read(file.bytes() - length, tail.data(), length);
  while (!tail.empty() && (tail.back() == '\n' || tail.back() == '\r')) tail.pop_back();
  const auto begin = tail.find_last_of("\r\n");
  return begin == std::string::npos ? tail : tail.substr(begin + 1);
}

}  // namespace dlcm
