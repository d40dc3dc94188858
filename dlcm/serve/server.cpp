#include "dlcm/serve/server.h"

#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <ctime>

namespace dlcm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kPollSeconds = 0.05;
constexpr double kFarewellSeconds = 1.0;  // to send the errors of what was not finished

// One descriptor a connection: as many as the system allows.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// SIGINT and SIGTERM wait to be asked for, in this thread and all that it starts, while this exists.
class StopSignals {
 public:
  StopSignals() {
    ::sigemptyset(&set_);
    ::sigaddset(&set_, SIGINT);
    ::sigaddset(&set_, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  ~StopSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  int wait() const {
    int signal = 0;
    while (::sigwait(&set_, &signal) != 0) {
    }
    return signal;
  }
  bool has_come() const {
    const timespec now{};
    return ::sigtimedwait(&set_, nullptr, &now) > 0;
  }

 private:
  sigset_t set_{}, before_{};
};

}  // namespace

Server::Server(const ServerSettings& settings)
    : settings_(settings),
      api_(std::make_unique<Api>(settings.api, metrics_)),
      http_(std::make_unique<HttpServer>(settings.host, settings.port, settings.http, *api_)) {
  api_->count_connections([this] { return http_->connections(); });
}

Server::~Server() { http_.reset(); }

void Server::load() {
  auto model = std::make_unique<ServedModel>(settings_.model, settings_.engine, settings_.requests, settings_.scheduler,
                                             metrics_);
  served_ = model.get();
  api_->set_model(std::move(model));
}

void Server::drain(const std::function<bool()>& wait) {
  api_->drain();
  const auto end = Clock::now() + std::chrono::duration<double>(settings_.drain_seconds);
  while (!http_->drain(kPollSeconds) && Clock::now() < end && wait()) {
  }
  api_->stop();
  http_->drain(kFarewellSeconds);
}

int serve_until_signal(const ServerSettings& settings, const std::function<void(uint16_t)>& listening,
                       const std::function<void(const ServedModel&)>& ready) {
  raise_descriptor_limit();
  const StopSignals signals;
  Server server(settings);
  listening(server.port());
  server.load();
  ready(server.served());
  const int signal = signals.wait();
  server.drain([&] { return !signals.has_come(); });
  return signal;
}

}  // namespace dlcm
