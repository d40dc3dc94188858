#include "dlcm/serve/http_server.h"

#include "dlcm/serve/http_connection.h"
#include "dlcm/util/error.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <thread>

namespace dlcm {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

constexpr auto kRetry = std::chrono::milliseconds(100);  // where the system has no descriptor left
constexpr auto kPoll = std::chrono::milliseconds(10);

tcp::endpoint endpoint_of(const std::string& host, uint16_t port) {
  boost::system::error_code error;
  const auto address = asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, error);
  if (error) throw Error("expected --host as an address (127.0.0.1, ::1, 0.0.0.0 for all), found {}", host);
  return {address, port};
}

}  // namespace

struct HttpServer::State {
  State(const std::string& host, uint16_t port, const HttpLimits& limits, HttpHandler& handler)
      : shared(std::make_shared<HttpShared>(limits, handler)), acceptor(shared->io), retry(shared->io) {
    const auto endpoint = endpoint_of(host, port);
    try {
      acceptor.open(endpoint.protocol());
      acceptor.set_option(tcp::acceptor::reuse_address(true));
      acceptor.bind(endpoint);
      acceptor.listen(asio::socket_base::max_listen_connections);
    } catch (const boost::system::system_error& error) {
      throw RuntimeFailure("cannot listen on {} port {} ({}): choose another --host or --port", host, port,
                           error.code().message());
    }
    shared->connection_closed = [this] {
      if (paused) accept();
    };
  }

  // Some connections more than are served are read, to be refused in words; the rest waits in the system's queue.
  bool full() const {
    const auto limit = shared->limits.connections;
    return shared->num_connections >= limit + std::max<int64_t>(1, limit / 4);
  }

  void accept() {
    paused = full();
    if (paused || stopping) return;
    acceptor.async_accept([this](boost::system::error_code error, tcp::socket socket) {
      if (stopping) return;
      if (error) {
        retry.expires_after(kRetry);
        retry.async_wait([this](boost::system::error_code cancelled) {
          if (!cancelled) accept();
        });
        return;
      }
      const bool too_many = shared->num_connections >= shared->limits.connections;
      std::make_shared<HttpConnection>(std::move(socket), shared)->start(too_many);
      accept();
    });
  }

  // What throws in a connection (no memory is left) costs that connection, not the server.
  void run() {
    for (;;) {
      try {
        shared->io.run();
        return;
      } catch (const std::exception& error) {
        fmt::print(stderr, "a connection failed: {}\n", error.what());
      }
    }
  }

  void stop() {
    stopping = true;
    boost::system::error_code ignored;
    acceptor.close(ignored);
    retry.cancel();
    const auto open = shared->connections;
    for (auto* connection : open) connection->close();
    shared->connection_closed = {};
  }

  std::shared_ptr<HttpShared> shared;
  tcp::acceptor acceptor;
  asio::steady_timer retry;
  bool paused = false;
  bool stopping = false;
  std::thread thread;
};

HttpServer::HttpServer(const std::string& host, uint16_t port, const HttpLimits& limits, HttpHandler& handler)
    : state_(std::make_unique<State>(host, port, limits, handler)) {
  asio::post(state_->shared->io, [this] { state_->accept(); });
  state_->thread = std::thread([this] { state_->run(); });
}

HttpServer::~HttpServer() {
  // Everything that was waited for ends, and with it the thread.
  asio::post(state_->shared->io, [this] { state_->stop(); });
  state_->thread.join();
}

uint16_t HttpServer::port() const { return state_->acceptor.local_endpoint().port(); }

int64_t HttpServer::connections() const { return state_->shared->num_connections; }

bool HttpServer::drain(double seconds) {
  state_->shared->draining = true;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (state_->shared->num_answering > 0) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

}  // namespace dlcm
