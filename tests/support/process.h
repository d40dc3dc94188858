// Runs the binary as a user runs it: arguments, standard input and output, signals.
#pragma once

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace dlcm::test {

inline std::string content_of(const std::string& path) {
  std::ostringstream content;
  content << std::ifstream(path, std::ios::binary).rdbuf();
  return content.str();
}

struct Finished {
  int status = -1;  // exit status; 128 + signal where a signal ended it
  std::string output, messages;
};

// The dlcm binary at work; its standard output and error go to files beside `scratch`.
class Process {
 public:
  // With `largest_file_bytes` no file may grow beyond it, as on a full disk: writes fail.
  Process(const std::string& scratch, std::vector<std::string> arguments, rlim_t largest_file_bytes = RLIM_INFINITY)
      : Process(scratch, DLCM_BINARY, std::move(arguments), {}, largest_file_bytes) {}

  // Another program, found in PATH where its name has no slash, with these variables in its environment.
  Process(const std::string& scratch, const std::string& program, std::vector<std::string> arguments,
          const std::vector<std::pair<std::string, std::string>>& environment,
          rlim_t largest_file_bytes = RLIM_INFINITY)
      : scratch_(scratch) {
    arguments.insert(arguments.begin(), program);
    std::vector<char*> pointers;
    for (auto& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    const auto output = scratch_ + ".output", messages = scratch_ + ".messages";
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(::open("/dev/null", O_RDONLY), 0);
      ::dup2(::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
      ::dup2(::open(messages.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
      ::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{largest_file_bytes, largest_file_bytes};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
      ::execvp(program.c_str(), pointers.data());
      ::_exit(127);
    }
  }

  void signal(int number) const { ::kill(child_, number); }

  // True when the file holds at least `lines` line ends within a minute.
  static bool wait_for_lines(const std::string& path, long lines) {
    return wait_for([&] {
      const auto content = content_of(path);
      return std::count(content.begin(), content.end(), '\n') >= lines;
    });
  }
  // True when there is such a file or folder within a minute.
  static bool wait_for_file(const std::string& path) {
    return wait_for([&] { return std::filesystem::exists(path); });
  }

  // A process that has not ended within five minutes hangs: it is killed, and the test fails.
  Finished wait() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(5);
    int status = 0;
    while (::waitpid(child_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > deadline) {
        ADD_FAILURE() << "killed after 5 minutes: " << content_of(scratch_ + ".messages");
        ::kill(child_, SIGKILL);
        ::waitpid(child_, &status, 0);
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), content_of(scratch_ + ".output"),
            content_of(scratch_ + ".messages")};
  }

 private:
  static bool wait_for(const std::function<bool()>& happened) {
    for (int attempt = 0; attempt < 12000; ++attempt) {
      if (happened()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  std::string scratch_;
  pid_t child_ = -1;
};

}  // namespace dlcm::test
