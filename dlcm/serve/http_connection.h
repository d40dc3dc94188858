// One connection of the HTTP server (http_server.h): reads requests one after the other and writes their answers.
//
// While a request is answered, the connection goes on reading, so that a client that leaves is noticed; what a client
// sends ahead (pipelining) waits in the buffer. All functions run in the server's thread.
#pragma once

#include "dlcm/serve/http_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>

namespace dlcm {

class HttpConnection;

// What the connections of a server share.
struct HttpShared {
  HttpShared(const HttpLimits& the_limits, HttpHandler& the_handler) : limits(the_limits), handler(the_handler) {}

  boost::asio::io_context io{1};
  HttpLimits limits;
  HttpHandler& handler;
  std::atomic<int64_t> num_connections{0};
  std::atomic<int64_t> num_answering{0};  // requests whose answers are not sent to their end
  std::atomic<bool> draining{false};
  // In the server's thread only:
  std::unordered_set<HttpConnection*> connections;
  size_t bodies_bytes = 0;  // reserved for the bodies of requests, until they are answered
  std::function<void()> connection_closed;
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(boost::asio::ip::tcp::socket socket, std::shared_ptr<HttpShared> shared);
  ~HttpConnection();

  // Reads the first request. A connection too many gets 503 as its answer.
  void start(bool too_many);
  // Closes at once; a client whose answer is not complete counts as gone.
  void close();

  // The answer to request `number`; ignored where that one is answered already.
  void reply(uint64_t number, const HttpReply& reply);
  void begin_stream(uint64_t number, const std::string& content_type);
  void stream(uint64_t number, const std::string& bytes);
  void end_stream(uint64_t number);
  void when_gone(uint64_t number, std::function<void()> left);
  void abandon(uint64_t number);  // no answer will come, or no more of it

 private:
  // What is being waited for, which says what a deadline means.
  enum class Phase { idle, reading, answering, lingering, closed };
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  using Error = boost::system::error_code;

  void read_head();
  void head_read(Error error);
  void read_body();
  void body_read(Error error);
  void read_failed(Error error);
  bool reserve_body();
  HttpRequest request_head() const;
  void begin_answer(bool keep_alive);
  void fail(int status, std::string_view message);

  void watch();
  void watched(Error error, size_t bytes);

  bool is_open(uint64_t number) const { return phase_ == Phase::answering && number == number_ && !complete_; }
  void send(std::string_view bytes);
  void complete();
  void write();
  void written(Error error);
  void answered();
  void linger();
  void discard();

  void set_deadline(double seconds);
  void expired();

  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  std::shared_ptr<HttpShared> shared_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  Phase phase_ = Phase::reading;
  bool too_many_ = false;
  bool timed_out_ = false;  // while a request was read
  bool watching_ = false;   // a read is under way although no request is awaited
  uint64_t number_ = 0;     // of the request that is being answered
  size_t reserved_bytes_ = 0;
  size_t discarded_bytes_ = 0;
  std::function<void()> left_;

  // The present answer.
  bool keep_alive_ = false;
  bool chunked_ = false;
  bool head_only_ = false;  // the method is HEAD
  bool streaming_ = false;
  bool complete_ = false;  // nothing will be added
  bool writing_ = false;
  std::string unsent_, being_sent_;
};

// The way to answer request `number` of the connection from any thread.
std::shared_ptr<HttpAnswer> make_answer(const std::shared_ptr<HttpConnection>& connection,
                                        std::shared_ptr<HttpShared> shared, uint64_t number);

}  // namespace dlcm
