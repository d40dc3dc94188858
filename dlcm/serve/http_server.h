// An event-driven HTTP/1.1 server: one thread moves the bytes of all connections (Boost.Asio, Boost.Beast).
//
// What a client can hold is bounded, and so is for how long: the number of connections, the header, the body, the time
// for header and body as a total, the time to take what is sent, and what waits to be sent.
#pragma once

#include "dlcm/serve/http_message.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace dlcm {

struct HttpLimits {
  int64_t connections = 1024;  // beyond them a connection is answered with 503
  size_t header_bytes = 16 << 10;
  size_t body_bytes = 8 << 20;
  size_t bodies_bytes = 128 << 20;  // of all requests that are being read; beyond them 503
  double request_seconds = 30.0;    // to send a request, header and body together
  double idle_seconds = 60.0;       // between two requests
  double write_seconds = 30.0;      // to take a piece of the answer, and one second more for each 64 KiB of it
  size_t unsent_bytes = 4 << 20;    // of a stream that the client does not read
};

class HttpServer {
 public:
  // Binds and listens at once; `port` 0 takes a free one. The handler must outlive the server. Throws Error where the
  // address is none, RuntimeFailure where it cannot be bound.
  HttpServer(const std::string& host, uint16_t port, const HttpLimits& limits, HttpHandler& handler);
  // Closes all connections and joins the thread.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  uint16_t port() const;
  // Connections that are open.
  int64_t connections() const;
  // From now on connections are closed behind their answers. Returns true when no answer is left unsent, false after
  // `seconds`.
  bool drain(double seconds);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dlcm
