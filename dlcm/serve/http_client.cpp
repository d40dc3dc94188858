#include "dlcm/serve/http_client.h"

#include "dlcm/util/error.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace dlcm {

HttpClient::HttpClient(uint16_t port, double seconds) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval patience{static_cast<time_t>(seconds),
                         static_cast<suseconds_t>((seconds - static_cast<double>(static_cast<time_t>(seconds))) * 1e6)};
  const int one = 1;
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  if (socket_ < 0 || ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    const int reason = errno;
    close();
    throw RuntimeFailure("cannot connect to 127.0.0.1 port {} ({})", port, std::strerror(reason));
  }
}

HttpClient::~HttpClient() { close(); }

HttpClient::HttpClient(HttpClient&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)),
      received_(std::move(other.received_)),
      events_(std::move(other.events_)) {}

void HttpClient::close(bool abruptly) {
  if (socket_ < 0) return;
  if (abruptly) {
    const linger reset{1, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  }
  ::close(std::exchange(socket_, -1));
}

void HttpClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0) throw RuntimeFailure("cannot send a request ({})", std::strerror(errno));
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

void HttpClient::request(std::string_view method, std::string_view path, std::string_view body,
                         std::string_view fields) {
  send(fmt::format(
      "{} {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{}", method,
      path, body.size(), fields, body));
}

bool HttpClient::receive() {
  std::array<char, 16384> buffer;
  const auto count = ::recv(socket_, buffer.data(), buffer.size(), 0);
  if (count < 0) throw RuntimeFailure("cannot receive an answer ({})", std::strerror(errno));
  received_.append(buffer.data(), static_cast<size_t>(count));
  return count > 0;
}

std::string HttpClient::line() {
  size_t end;
  while ((end = received_.find("\r\n")) == std::string::npos) {
    if (!receive()) throw RuntimeFailure("the server closed the connection within an answer");
  }
  auto found = received_.substr(0, end);
  received_.erase(0, end + 2);
  return found;
}

std::string HttpClient::take(size_t count) {
  while (received_.size() < count) {
    if (!receive()) throw RuntimeFailure("the server closed the connection within an answer");
  }
  auto found = received_.substr(0, count);
  received_.erase(0, count);
  return found;
}

HttpResponse HttpClient::head() {
  HttpResponse response;
  while (response.status == 0 || response.status == 100) {
    const auto first = line();
    if (first.size() < 12 || first.compare(0, 9, "HTTP/1.1 ") != 0)
      throw RuntimeFailure("expected HTTP, found {}", first);
    response.status = std::stoi(first.substr(9, 3));
    for (auto field = line(); !field.empty(); field = line()) {
      const auto colon = field.find(": ");
      if (colon == std::string::npos) throw RuntimeFailure("expected a header field, found {}", field);
      auto name = field.substr(0, colon);
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char letter) { return std::tolower(letter); });
      response.fields[name] = field.substr(colon + 2);
    }
  }
  return response;
}

std::optional<std::string> HttpClient::chunk() {
  const auto size = std::stoul(line(), nullptr, 16);
  auto content = take(size);
  line();
  if (size == 0) return std::nullopt;
  return content;
}

HttpResponse HttpClient::response() {
  auto response = head();
  if (const auto length = response.fields.find("content-length"); length != response.fields.end()) {
    response.body = take(std::stoul(length->second));
  } else if (response.fields.count("transfer-encoding") > 0) {
    while (const auto piece = chunk()) response.body += *piece;
  } else {
    while (receive()) {
    }
    response.body = std::exchange(received_, {});
  }
  return response;
}

HttpResponse HttpClient::stream_head() {
  events_.clear();
  return head();
}

std::optional<std::string> HttpClient::event() {
  constexpr std::string_view kData = "data: ";
  for (;;) {
    if (const auto end = events_.find("\n\n"); end != std::string::npos) {
      const auto frame = events_.substr(0, end);
      events_.erase(0, end + 2);
      if (frame.compare(0, kData.size(), kData) != 0) throw RuntimeFailure("expected an event, found {}", frame);
      return frame.substr(kData.size());
    }
    const auto piece = chunk();
    if (!piece) return std::nullopt;
    events_ += *piece;
  }
}

bool HttpClient::closed() {
  try {
    while (receive()) {
    }
  } catch (const RuntimeFailure&) {
    return errno == ECONNRESET;
  }
  return true;
}

}  // namespace dlcm
