// A plain HTTP/1.1 client over a loopback socket, which waits: what measures the server and what tests it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace dlcm {

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> fields;  // names in lower case
  std::string body;                           // empty for a stream
};

class HttpClient {
 public:
  // Connects to 127.0.0.1. Throws RuntimeFailure, as all functions do where the connection breaks or nothing comes for
  // `seconds`.
  explicit HttpClient(uint16_t port, double seconds = 60.0);
  ~HttpClient();
  HttpClient(HttpClient&& other) noexcept;
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Any bytes, as they are.
  void send(std::string_view bytes);
  // A whole request; `fields` are further header lines, each with its line end.
  void request(std::string_view method, std::string_view path, std::string_view body = "",
               std::string_view fields = "");

  // The next response, with its body.
  HttpResponse response();
  HttpResponse ask(std::string_view method, std::string_view path, std::string_view body = "",
                   std::string_view fields = "") {
    request(method, path, body, fields);
    return response();
  }

  // The next response's head, of a stream of events; then event by event what stands behind "data: "; nothing at the
  // stream's end.
  HttpResponse stream_head();
  std::optional<std::string> event();

  // Whether the server has closed the connection; waits for it.
  bool closed();
  // Closes; `abruptly` resets the connection.
  void close(bool abruptly = false);

 private:
  bool receive();  // more bytes; false at the connection's end
  std::string line();
  std::string take(size_t count);
  HttpResponse head();
  std::optional<std::string> chunk();

  int socket_ = -1;
  std::string received_;
  std::string events_;  // of the stream, behind the chunks' coding
};

}  // namespace dlcm
