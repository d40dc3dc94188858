#include "dlcm/serve/http_connection.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/read.hpp>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <utility>

namespace dlcm {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr size_t kAheadBytes = 64 << 10;      // of later requests, kept while one is answered
constexpr size_t kDiscardedBytes = 16 << 20;  // read behind the last answer, so that it arrives
constexpr double kLingerSeconds = 2.0;
constexpr double kRefusalSeconds = 2.0;  // to send the request that is refused
constexpr double kLeastBytesPerSecond = 64 << 10;

std::string text(boost::beast::string_view view) { return {view.data(), view.size()}; }

// Path and query apart; nothing else of a target matters here.
std::string path_of(const std::string& target) { return target.substr(0, target.find_first_of("?#")); }

std::string head_of(int status, std::string_view content_type, std::string_view rest) {
  return fmt::format(
      "HTTP/1.1 {} {}\r\nDate: {:%a, %d %b %Y %H:%M:%S} GMT\r\nContent-Type: {}\r\nX-Content-Type-Options: "
      "nosniff\r\n{}",
      status, http_reason(status), fmt::gmtime(std::time(nullptr)), content_type, rest);
}

std::string_view connection_field(bool keep_alive) {
  return keep_alive ? "Connection: keep-alive\r\n" : "Connection: close\r\n";
}

}  // namespace

std::string_view http_reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "";
  }
}

HttpConnection::HttpConnection(asio::ip::tcp::socket socket, std::shared_ptr<HttpShared> shared)
    : socket_(std::move(socket)), timer_(shared->io), shared_(std::move(shared)), buffer_(kAheadBytes * 2) {
  shared_->connections.insert(this);
  ++shared_->num_connections;
  Error ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
}

HttpConnection::~HttpConnection() { close(); }

void HttpConnection::start(bool too_many) {
  too_many_ = too_many;
  read_head();
}

void HttpConnection::close() {
  if (phase_ == Phase::closed) return;
  if (phase_ == Phase::answering) --shared_->num_answering;
  phase_ = Phase::closed;
  shared_->bodies_bytes -= std::exchange(reserved_bytes_, 0);
  shared_->connections.erase(this);
  --shared_->num_connections;
  Error ignored;
  socket_.close(ignored);
  timer_.cancel();
  if (const auto left = std::exchange(left_, {})) left();
  if (shared_->connection_closed) shared_->connection_closed();
}

// Reading a request.

void HttpConnection::read_head() {
  phase_ = Phase::reading;
  timed_out_ = false;
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(shared_->limits.header_bytes));
  parser_->body_limit(shared_->limits.body_bytes);
  set_deadline(too_many_ ? kRefusalSeconds : shared_->limits.request_seconds);
  http::async_read_header(socket_, buffer_, *parser_,
                          [self = shared_from_this()](Error error, size_t) { self->head_read(error); });
}

void HttpConnection::head_read(Error error) {
  if (phase_ == Phase::closed) return;
  if (error) return read_failed(error);
  if (too_many_) return fail(503, "too many connections are open: try again later");
  if (auto refusal = shared_->handler.refuse(request_head())) {
    // What is left of the request is not read, so nothing can follow it.
    begin_answer(parser_->is_done() && parser_->keep_alive());
    return reply(number_, *refusal);
  }
  if (!reserve_body()) return fail(503, "the requests that are being read are too large together: try again later");
  const auto expect = parser_->get()[http::field::expect];
  if (!boost::beast::iequals(expect, "100-continue") || parser_->is_done()) return read_body();
  static const std::string continues = "HTTP/1.1 100 Continue\r\n\r\n";
  asio::async_write(socket_, asio::buffer(continues), [self = shared_from_this()](Error failed, size_t) {
    if (self->phase_ == Phase::closed) return;
    if (failed) return self->read_failed(failed);
    self->read_body();
  });
}

void HttpConnection::read_body() {
  http::async_read(socket_, buffer_, *parser_,
                   [self = shared_from_this()](Error error, size_t) { self->body_read(error); });
}

void HttpConnection::body_read(Error error) {
  if (phase_ == Phase::closed) return;
  if (error) return read_failed(error);
  auto request = request_head();
  request.body = std::move(parser_->get().body());
  begin_answer(parser_->keep_alive());
  watch();
  shared_->handler.handle(std::move(request), make_answer(shared_from_this(), shared_, number_));
}

void HttpConnection::read_failed(Error error) {
  if (timed_out_) {
    return fail(408, fmt::format("the request did not arrive within {} seconds", shared_->limits.request_seconds));
  }
  if (error == http::error::body_limit) {
    return fail(413, fmt::format("expected a body of at most {} bytes", shared_->limits.body_bytes));
  }
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return fail(431, fmt::format("expected a header of at most {} bytes", shared_->limits.header_bytes));
  }
  // The client closed its side, between requests or in the middle of one, or the connection broke.
  if (error.category() != make_error_code(http::error::bad_method).category() || error == http::error::end_of_stream ||
      error == http::error::partial_message) {
    return close();
  }
  fail(400, fmt::format("expected an HTTP request, found something else ({})", error.message()));
}

bool HttpConnection::reserve_body() {
  const auto length = parser_->content_length();
  const size_t bytes = length ? static_cast<size_t>(*length) : parser_->chunked() ? shared_->limits.body_bytes : 0;
  if (bytes > 0 && shared_->bodies_bytes + bytes > shared_->limits.bodies_bytes) return false;
  reserved_bytes_ = bytes;
  shared_->bodies_bytes += bytes;
  return true;
}

HttpRequest HttpConnection::request_head() const {
  const auto& head = parser_->get();
  return {.method = text(head.method_string()),
          .path = path_of(text(head.target())),
          .host = text(head[http::field::host]),
          .origin = text(head[http::field::origin]),
          .authorization = text(head[http::field::authorization]),
          .body = {}};
}

// Answering it.

void HttpConnection::begin_answer(bool keep_alive) {
  phase_ = Phase::answering;
  ++number_;
  ++shared_->num_answering;
  timer_.cancel();
  keep_alive_ = keep_alive && !shared_->draining;
  head_only_ = parser_->is_header_done() && parser_->get().method() == http::verb::head;
  chunked_ = parser_->is_header_done() && parser_->get().version() >= 11;
  complete_ = false;
  streaming_ = false;
}

void HttpConnection::fail(int status, std::string_view message) {
  begin_answer(false);
  reply(number_, shared_->handler.failure(status, message));
}

void HttpConnection::watch() {
  watching_ = true;
  socket_.async_read_some(buffer_.prepare(4096),
                          [self = shared_from_this()](Error error, size_t bytes) { self->watched(error, bytes); });
}

void HttpConnection::watched(Error error, size_t bytes) {
  watching_ = false;
  if (phase_ == Phase::closed) return;
  buffer_.commit(bytes);
  if (error && error != asio::error::operation_aborted) return close();
  switch (phase_) {
    case Phase::idle:
      return buffer_.size() > 0 ? read_head() : watch();
    case Phase::answering:
      if (buffer_.size() < kAheadBytes) watch();
      return;
    case Phase::lingering:
      return discard();
    default:
      return;
  }
}

void HttpConnection::reply(uint64_t number, const HttpReply& reply) {
  if (!is_open(number)) return;
  std::string rest = fmt::format("Content-Length: {}\r\n{}", reply.body.size(), connection_field(keep_alive_));
  for (const auto& [name, value] : reply.fields) rest += fmt::format("{}: {}\r\n", name, value);
  send(head_of(reply.status, reply.content_type, rest + "\r\n"));
  if (!head_only_) send(reply.body);
  complete();
}

void HttpConnection::begin_stream(uint64_t number, const std::string& content_type) {
  if (!is_open(number)) return;
  streaming_ = true;
  keep_alive_ = keep_alive_ && chunked_;  // without chunks only the connection's end tells the stream's
  send(head_of(200, content_type,
               fmt::format("Cache-Control: no-store\r\n{}{}\r\n", chunked_ ? "Transfer-Encoding: chunked\r\n" : "",
                           connection_field(keep_alive_))));
}

void HttpConnection::stream(uint64_t number, const std::string& bytes) {
  if (!is_open(number) || bytes.empty() || head_only_) return;
  send(chunked_ ? fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes) : bytes);
}

void HttpConnection::end_stream(uint64_t number) {
  if (!is_open(number)) return;
  if (chunked_ && !head_only_) send("0\r\n\r\n");
  complete();
}

void HttpConnection::when_gone(uint64_t number, std::function<void()> left) {
  if (is_open(number)) {
    left_ = std::move(left);
  } else if (number == number_ && phase_ != Phase::closed) {
    return;  // answered
  } else {
    left();
  }
}

void HttpConnection::abandon(uint64_t number) {
  if (!is_open(number)) return;
  if (streaming_) return close();  // what is there is no whole answer
  reply(number, shared_->handler.failure(500, "the server dropped the request"));
}

void HttpConnection::send(std::string_view bytes) {
  if (phase_ != Phase::answering) return;
  unsent_ += bytes;
  if (!writing_) {
    write();
  } else if (streaming_ && unsent_.size() > shared_->limits.unsent_bytes) {
    close();  // the client does not read
  }
}

void HttpConnection::complete() {
  complete_ = true;
  left_ = {};
  if (phase_ == Phase::answering && !writing_) answered();
}

void HttpConnection::write() {
  being_sent_ = std::exchange(unsent_, {});
  writing_ = true;
  set_deadline(shared_->limits.write_seconds + static_cast<double>(being_sent_.size()) / kLeastBytesPerSecond);
  asio::async_write(socket_, asio::buffer(being_sent_),
                    [self = shared_from_this()](Error error, size_t) { self->written(error); });
}

void HttpConnection::written(Error error) {
  writing_ = false;
  if (phase_ == Phase::closed) return;
  if (error) return close();
  timer_.cancel();
  if (!unsent_.empty()) {
    write();
  } else if (complete_) {
    answered();
  }
}

void HttpConnection::answered() {
  --shared_->num_answering;
  shared_->bodies_bytes -= std::exchange(reserved_bytes_, 0);
  parser_.reset();
  if (!keep_alive_) return linger();
  phase_ = Phase::idle;
  if (watching_) {
    set_deadline(shared_->limits.idle_seconds);
    Error ignored;
    if (buffer_.size() > 0) socket_.cancel(ignored);  // then watched() reads the request that waits
  } else if (buffer_.size() > 0) {
    read_head();
  } else {
    set_deadline(shared_->limits.idle_seconds);
    watch();
  }
}

// The other side may still be sending: closing now would destroy the answer on its way.
void HttpConnection::linger() {
  phase_ = Phase::lingering;
  Error ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  set_deadline(kLingerSeconds);
  if (!watching_) discard();
}

void HttpConnection::discard() {
  discarded_bytes_ += buffer_.size();
  buffer_.consume(buffer_.size());
  if (discarded_bytes_ > kDiscardedBytes) return close();
  watch();
}

// Deadlines.

void HttpConnection::set_deadline(double seconds) {
  timer_.expires_after(std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds)));
  timer_.async_wait([weak = weak_from_this()](Error error) {
    const auto self = weak.lock();
    if (!error && self && self->timer_.expiry() <= std::chrono::steady_clock::now()) self->expired();
  });
}

void HttpConnection::expired() {
  if (phase_ == Phase::closed) return;
  if (phase_ != Phase::reading) return close();
  timed_out_ = true;
  Error ignored;
  socket_.cancel(ignored);
}

namespace {

class ConnectionAnswer : public HttpAnswer {
 public:
  ConnectionAnswer(std::weak_ptr<HttpConnection> connection, std::shared_ptr<HttpShared> shared, uint64_t number)
      : connection_(std::move(connection)), shared_(std::move(shared)), number_(number) {}
  ~ConnectionAnswer() override {
    in_server([number = number_](HttpConnection& connection) { connection.abandon(number); });
  }

  void reply(HttpReply reply) override {
    in_server([number = number_, reply = std::move(reply)](auto& connection) { connection.reply(number, reply); });
  }
  void begin_stream(std::string_view content_type) override {
    in_server([number = number_, type = std::string(content_type)](auto& connection) {
      connection.begin_stream(number, type);
    });
  }
  void stream(std::string_view bytes) override {
    in_server([number = number_, piece = std::string(bytes)](auto& connection) { connection.stream(number, piece); });
  }
  void end_stream() override {
    in_server([number = number_](auto& connection) { connection.end_stream(number); });
  }
  void when_gone(std::function<void()> left) override {
    asio::post(shared_->io, [weak = connection_, number = number_, left = std::move(left)]() mutable {
      if (const auto connection = weak.lock()) {
        connection->when_gone(number, std::move(left));
      } else {
        left();
      }
    });
  }

 private:
  template <typename Action>
  void in_server(Action action) {
    asio::post(shared_->io, [weak = connection_, action = std::move(action)] {
      if (const auto connection = weak.lock()) action(*connection);
    });
  }

  std::weak_ptr<HttpConnection> connection_;
  std::shared_ptr<HttpShared> shared_;
  uint64_t number_;
};

}  // namespace

std::shared_ptr<HttpAnswer> make_answer(const std::shared_ptr<HttpConnection>& connection,
                                        std::shared_ptr<HttpShared> shared, uint64_t number) {
  return std::make_shared<ConnectionAnswer>(connection, std::move(shared), number);
}

}  // namespace dlcm
