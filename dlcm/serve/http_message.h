// What passes between the connections of the HTTP server and those who answer requests.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dlcm {

struct HttpRequest {
  std::string method;  // as sent: GET, POST ...
  std::string path;    // of the target, without its query
  std::string host;    // header fields; empty where they were not sent
  std::string origin;
  std::string authorization;
  std::string body;
};

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> fields = {};  // further header fields
};

// The reason phrase of a status; empty for one that this server does not use.
std::string_view http_reason(int status);

// The way back to the client of one request: one reply, or a stream. May be used from any thread, one at a time, and
// outlives the connection; what is sent to a client that has gone is dropped.
class HttpAnswer {
 public:
  virtual ~HttpAnswer() = default;

  virtual void reply(HttpReply reply) = 0;

  // A stream of status 200: its beginning, any number of pieces, its end.
  virtual void begin_stream(std::string_view content_type) = 0;
  virtual void stream(std::string_view bytes) = 0;
  virtual void end_stream() = 0;

  // Calls `left` once, in the server's thread, when the client goes away before the answer's end (it closed the
  // connection, does not read, or the server stops); at once where it has gone already.
  virtual void when_gone(std::function<void()> left) = 0;
};

// Who answers. Both functions are called in the server's thread, in which nothing may compute for long.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;

  // Looks at a request before its body is read; a reply ends it there.
  virtual std::optional<HttpReply> refuse(const HttpRequest& head) = 0;
  // Answers, now or later. An answer that is dropped unanswered becomes status 500.
  virtual void handle(HttpRequest request, std::shared_ptr<HttpAnswer> answer) = 0;
  // The reply where the server itself refuses: 400 (no HTTP), 408, 413, 431, 503 (too many connections), 500.
  virtual HttpReply failure(int status, std::string_view message) = 0;
};

}  // namespace dlcm
