// The endpoints of the server: who may ask what, and what is answered (docs/serving.md).
#pragma once

#include "dlcm/serve/http_message.h"
#include "dlcm/serve/metrics.h"
#include "dlcm/serve/served_model.h"
#include "dlcm/serve/task_threads.h"

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace dlcm {

struct ApiSettings {
  std::string api_key;           // empty: everyone may ask
  double request_seconds = 600;  // that a completion may take
};

class Api : public HttpHandler {
 public:
  Api(ApiSettings settings, ServerMetrics& metrics);
  ~Api() override;

  // Until then requests that need the model are answered with 503.
  void set_model(std::unique_ptr<ServedModel> model);
  // From now on work is refused with 503.
  void drain() { draining_ = true; }
  // Fails what is under way.
  void stop();
  // Connections for /metrics.
  void count_connections(std::function<int64_t()> count) { connections_ = std::move(count); }

  std::optional<HttpReply> refuse(const HttpRequest& head) override;
  void handle(HttpRequest request, std::shared_ptr<HttpAnswer> answer) override;
  HttpReply failure(int status, std::string_view message) override;

 private:
  using Answer = std::shared_ptr<HttpAnswer>;
  struct Route;
  static const Route* route_of(std::string_view path);

  void check(const Route* route, const HttpRequest& head) const;
  bool authorised(const HttpRequest& head) const;
  ServedModel& model() const;  // throws ApiError (503) while there is none
  void answer(const Route& route, const HttpRequest& request, const Answer& answer,
              const std::shared_ptr<TaskStrand>& strand);
  void reply(const Route& route, const Answer& answer, HttpReply reply);

  // One a route.
  HttpReply page(const HttpRequest& request) const;
  HttpReply health(const HttpRequest& request) const;
  HttpReply metrics(const HttpRequest& request) const;
  HttpReply models(const HttpRequest& request) const;
  HttpReply tokenizer_info(const HttpRequest& request) const;
  HttpReply tokenize(const HttpRequest& request) const;
  HttpReply detokenize(const HttpRequest& request) const;
  void complete(const Route& route, const HttpRequest& request, const Answer& answer,
                const std::shared_ptr<TaskStrand>& strand);
  void segment(const Route& route, const HttpRequest& request, const Answer& answer,
               const std::shared_ptr<TaskStrand>& strand);

  ApiSettings settings_;
  ServerMetrics& metrics_;
  std::function<int64_t()> connections_;
  std::unique_ptr<ServedModel> model_;
  std::atomic<ServedModel*> loaded_{nullptr};
  std::atomic<bool> draining_{false};
  TaskThreads tasks_{2};
};

// Compares in a time that depends on the lengths alone.
bool equal_keys(std::string_view left, std::string_view right);

}  // namespace dlcm
