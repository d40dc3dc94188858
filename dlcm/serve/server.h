// `dlcm serve`: the HTTP server, the API and the model together, until a signal ends them.
#pragma once

#include "dlcm/infer/engine.h"
#include "dlcm/serve/api.h"
#include "dlcm/serve/http_server.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace dlcm {

struct ServerSettings {
  std::string model;  // a path, as for load_engine_model
  std::string host = "127.0.0.1";
  uint16_t port = 8080;  // 0 takes a free one
  ApiSettings api;
  HttpLimits http;
  RequestLimits requests;
  SchedulerLimits scheduler;
  EngineSettings engine;
  double drain_seconds = 30.0;  // for what is under way when the server is to stop
};

// A server at work, in this process.
class Server {
 public:
  // Listens at once; until load() has returned, requests that need the model are answered with 503. Throws as
  // HttpServer does.
  explicit Server(const ServerSettings& settings);
  ~Server();

  // Throws as load_engine_model does.
  void load();
  uint16_t port() const { return http_->port(); }
  const ServedModel& served() const { return *served_; }
  const ServerMetrics& metrics() const { return metrics_; }

  // Refuses new work with 503 and waits for what is under way, at most drain_seconds and no longer than `wait` allows:
  // it is asked again and again. What is not done then fails.
  void drain(const std::function<bool()>& wait);

 private:
  ServerSettings settings_;
  ServerMetrics metrics_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<HttpServer> http_;  // goes first: its connections call the others
  const ServedModel* served_ = nullptr;
};

// Serves until SIGINT or SIGTERM comes, which it returns: what is under way is finished first, unless a second signal
// comes. `listening` is called with the port, `ready` when the model is loaded.
int serve_until_signal(const ServerSettings& settings, const std::function<void(uint16_t)>& listening,
                       const std::function<void(const ServedModel&)>& ready);

}  // namespace dlcm
