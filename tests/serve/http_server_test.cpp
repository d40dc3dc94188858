// The HTTP server alone, over sockets: what reaches its handler, what comes back, and what clients cannot do to it.
#include "dlcm/serve/http_server.h"

#include "dlcm/serve/http_client.h"
#include "dlcm/util/error.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

namespace dlcm {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

bool soon(const std::function<bool()>& condition) {
  const auto begin = Clock::now();
  while (!condition()) {
    if (seconds_since(begin) > 10.0) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

// Echoes; /wait keeps the answer, /stream sends what the test says, /drop lets the answer go, /secret is refused.
class Echo : public HttpHandler {
 public:
  std::optional<HttpReply> refuse(const HttpRequest& head) override {
    if (head.path == "/secret") return HttpReply{.status = 401, .body = "key"};
    return std::nullopt;
  }

  void handle(HttpRequest request, std::shared_ptr<HttpAnswer> answer) override {
    ++handled;
    if (request.path == "/drop") return;
    if (request.path == "/wait" || request.path == "/stream") {
      answer->when_gone([this] { ++gone; });
      if (request.path == "/stream") answer->begin_stream("text/event-stream");
      const std::lock_guard lock(mutex);
      kept.push_back(std::move(answer));
      return;
    }
    answer->reply({.content_type = "text/plain",
                   .body = request.method + " " + request.path + " " + request.body,
                   .fields = {{"Authorised", request.authorization}}});
  }

  HttpReply failure(int status, std::string_view message) override {
    return {.status = status, .content_type = "text/plain", .body = std::string(message)};
  }

  std::shared_ptr<HttpAnswer> last() {
    EXPECT_TRUE(soon([&] {
      const std::lock_guard lock(mutex);
      return !kept.empty();
    }));
    const std::lock_guard lock(mutex);
    auto answer = kept.back();
    kept.pop_back();
    return answer;
  }

  std::atomic<int> handled{0}, gone{0};
  std::mutex mutex;
  std::vector<std::shared_ptr<HttpAnswer>> kept;
};

struct Served {
  explicit Served(const HttpLimits& limits = {}) : server("127.0.0.1", 0, limits, echo) {}
  HttpClient client() { return HttpClient(server.port()); }
  Echo echo;
  HttpServer server;
};

TEST(HttpServer, AnswersRequestsOnOneConnection) {
  Served served;
  auto client = served.client();
  for (int i = 0; i < 3; ++i) {
    const auto response = client.ask("POST", "/a?b=c", "body", "Authorization: Bearer k\r\n");
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "POST /a body");
    EXPECT_EQ(response.fields.at("authorised"), "Bearer k");
    EXPECT_EQ(response.fields.at("connection"), "keep-alive");
    EXPECT_EQ(response.fields.count("date"), 1u);
  }
  EXPECT_EQ(served.server.connections(), 1);
}

TEST(HttpServer, AnswersPipelinedRequestsInOrder) {
  Served served;
  auto client = served.client();
  std::string requests;
  for (int i = 0; i < 50; ++i) requests += fmt::format("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", i);
  client.send(requests);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(client.response().body, fmt::format("GET /{} ", i));
  EXPECT_EQ(client.ask("GET", "/last").body, "GET /last ");
}

TEST(HttpServer, KeepsWhatIsSentAheadOfAnAnswer) {
  Served served;
  auto client = served.client();
  client.request("GET", "/wait");
  const auto answer = served.echo.last();
  client.request("GET", "/next");
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_EQ(served.echo.handled, 1);
  answer->reply({.body = "first"});
  EXPECT_EQ(client.response().body, "first");
  EXPECT_EQ(client.response().body, "GET /next ");
  EXPECT_EQ(served.echo.gone, 0);
}

TEST(HttpServer, TakesBodiesInPieces) {
  Served served;
  auto client = served.client();
  for (const char byte : std::string("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")) {
    client.send(std::string(1, byte));
  }
  EXPECT_EQ(client.response().body, "POST /p abc");
  client.send("POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n");
  EXPECT_EQ(client.response().body, "POST /p abc");
  client.send("POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  client.send("abc");
  EXPECT_EQ(client.response().body, "POST /p abc");
}

TEST(HttpServer, ClosesWhereTheClientAsksForIt) {
  Served served;
  auto client = served.client();
  EXPECT_EQ(client.ask("GET", "/a", "", "Connection: close\r\n").fields.at("connection"), "close");
  EXPECT_TRUE(client.closed());
  auto old = served.client();
  old.send("GET /old HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.response().body, "GET /old ");
  EXPECT_TRUE(old.closed());
}

TEST(HttpServer, AnswersHeadWithoutABody) {
  Served served;
  auto client = served.client();
  client.send("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.stream_head().fields.at("content-length"), "8");
  EXPECT_EQ(client.response().body, "GET /b ");
}

TEST(HttpServer, StreamsPieces) {
  Served served;
  auto client = served.client();
  client.request("GET", "/stream");
  const auto answer = served.echo.last();
  answer->stream("data: 1\n\nda");
  EXPECT_EQ(client.stream_head().fields.at("content-type"), "text/event-stream");
  EXPECT_EQ(client.event(), "1");
  answer->stream("ta: 2\n\n");
  answer->stream("");  // no chunk: that would end the stream
  answer->stream("data: 3\n\n");
  answer->end_stream();
  EXPECT_EQ(client.event(), "2");
  EXPECT_EQ(client.event(), "3");
  EXPECT_EQ(client.event(), std::nullopt);
  EXPECT_EQ(client.ask("GET", "/after").body, "GET /after ");
  auto old = served.client();
  old.send("GET /stream HTTP/1.0\r\n\r\n");
  const auto old_answer = served.echo.last();
  old_answer->stream("abc");
  old_answer->end_stream();
  EXPECT_EQ(old.response().body, "abc");
}

TEST(HttpServer, TellsWhenAClientLeaves) {
  Served served;
  for (const bool abruptly : {false, true}) {
    for (const auto* path : {"/wait", "/stream"}) {
      const int before = served.echo.gone;
      auto client = served.client();
      client.request("GET", path);
      const auto answer = served.echo.last();
      client.close(abruptly);
      EXPECT_TRUE(soon([&] { return served.echo.gone == before + 1; })) << path;
      answer->stream("data: lost\n\n");
      answer->end_stream();
    }
  }
  EXPECT_TRUE(soon([&] { return served.server.connections() == 0; }));
  EXPECT_EQ(served.echo.gone, 4);
}

TEST(HttpServer, TellsAtOnceWhereTheClientHasLeft) {
  Served served;
  auto client = served.client();
  client.request("GET", "/wait");
  const auto answer = served.echo.last();
  client.close();
  ASSERT_TRUE(soon([&] { return served.server.connections() == 0; }));
  std::atomic<bool> told{false};
  answer->when_gone([&] { told = true; });
  EXPECT_TRUE(soon([&] { return told.load(); }));
}

TEST(HttpServer, ForgetsTheClientBehindTheAnswer) {
  Served served;
  auto client = served.client();
  client.request("GET", "/wait");
  served.echo.last()->reply({.body = "done"});
  EXPECT_EQ(client.response().body, "done");
  client.close();
  ASSERT_TRUE(soon([&] { return served.server.connections() == 0; }));
  EXPECT_EQ(served.echo.gone, 0);
}

TEST(HttpServer, AnswersWhereTheHandlerDropsARequest) {
  Served served;
  auto client = served.client();
  EXPECT_EQ(client.ask("GET", "/drop").status, 500);
  EXPECT_EQ(client.ask("GET", "/on").status, 200);
  client.request("GET", "/stream");
  served.echo.last()->stream("data: 1\n\n");  // and drops the rest
  client.stream_head();
  EXPECT_EQ(client.event(), "1");
  EXPECT_TRUE(client.closed());
}

TEST(HttpServer, RefusesByTheHeadWithoutReadingTheBody) {
  Served served;
  auto client = served.client();
  client.send("POST /secret HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
  const auto response = client.response();
  EXPECT_EQ(response.status, 401);
  EXPECT_EQ(response.fields.at("connection"), "close");
  client.send(std::string(1000000, 'x'));  // is not taken for a request
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(served.echo.handled, 0);
}

TEST(HttpServer, RefusesWhatIsTooLarge) {
  Served served({.header_bytes = 1000, .body_bytes = 100, .bodies_bytes = 150});
  auto declared = served.client();
  EXPECT_EQ(declared.ask("POST", "/a", std::string(101, 'x')).status, 413);
  EXPECT_TRUE(declared.closed());
  auto chunked = served.client();
  chunked.send("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nc8\r\n" + std::string(200, 'x'));
  EXPECT_EQ(chunked.response().status, 413);
  auto absurd = served.client();
  absurd.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n");
  EXPECT_EQ(absurd.response().status, 400);
  auto header = served.client();
  header.send("GET /a HTTP/1.1\r\nHost: x\r\nX: " + std::string(5000, 'x'));
  EXPECT_EQ(header.response().status, 431);
  // Two bodies that are each small enough but too large together.
  auto first = served.client(), second = served.client();
  first.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(second.ask("POST", "/a", std::string(90, 'x')).status, 503);
  first.send(std::string(90, 'x'));
  EXPECT_EQ(first.response().status, 200);
  auto third = served.client();
  EXPECT_EQ(third.ask("POST", "/a", std::string(90, 'x')).status, 200);
}

TEST(HttpServer, RefusesWhatIsNoHttp) {
  Served served;
  for (const auto* bytes : {"\r\n\r\n\r\n", "nonsense\r\n\r\n", "GET / HTTP/1.1\r\nbad header\r\n\r\n", "GET\r\n\r\n",
                            "\x16\x03\x01\x02", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    auto client = served.client();
    client.send(std::string(bytes) + "\r\n\r\n");
    EXPECT_EQ(client.response().status, 400) << bytes;
    EXPECT_TRUE(client.closed());
  }
}

TEST(HttpServer, GivesASlowRequestOneDeadlineInAll) {
  Served served({.request_seconds = 0.4});
  auto header = served.client(), body = served.client();
  const auto begin = Clock::now();
  body.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
  header.send("GET /a HT");
  // A byte now and then does not prolong it.
  while (seconds_since(begin) < 0.3) {
    body.send("x");
    header.send("x");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(body.response().status, 408);
  EXPECT_EQ(header.response().status, 408);
  EXPECT_LT(seconds_since(begin), 2.0);
  EXPECT_TRUE(body.closed());
}

TEST(HttpServer, ClosesIdleConnections) {
  Served served({.idle_seconds = 0.2});
  auto client = served.client();
  EXPECT_EQ(client.ask("GET", "/a").status, 200);
  EXPECT_TRUE(client.closed());
}

TEST(HttpServer, DropsAClientThatDoesNotRead) {
  Served served({.write_seconds = 60.0, .unsent_bytes = 1 << 16});
  auto client = served.client();
  client.request("GET", "/stream");
  const auto answer = served.echo.last();
  for (int i = 0; i < 1000 && served.echo.gone == 0; ++i) {
    answer->stream(std::string(1 << 16, 'x'));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(served.echo.gone, 1);
}

TEST(HttpServer, AnswersConnectionsTooManyInWords) {
  Served served({.connections = 4});
  std::vector<HttpClient> held;
  for (int i = 0; i < 4; ++i) {
    held.push_back(served.client());
    EXPECT_EQ(held.back().ask("GET", "/a").status, 200);
  }
  auto fifth = served.client();
  EXPECT_EQ(fifth.ask("GET", "/a").status, 503);
  held.pop_back();
  EXPECT_TRUE(soon([&] { return served.client().ask("GET", "/a").status == 200; }));
  EXPECT_EQ(held.front().ask("GET", "/a").status, 200);
}

TEST(HttpServer, OutlivesAThousandSuddenConnections) {
  Served served({.connections = 200});
  std::vector<HttpClient> clients;
  for (int i = 0; i < 900; ++i) clients.push_back(served.client());  // more wait in the system's queue
  for (auto& client : clients) client.send("GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  int served_clients = 0, refused_clients = 0;
  for (auto& client : clients) {
    const int status = client.response().status;
    served_clients += status == 200;
    refused_clients += status == 503;
    client.close();
  }
  EXPECT_EQ(served_clients + refused_clients, 900);
  EXPECT_GE(served_clients, 200);
  EXPECT_TRUE(soon([&] { return served.server.connections() == 0; }));
}

TEST(HttpServer, DrainsWhatIsBeingAnswered) {
  Served served;
  auto client = served.client();
  client.request("GET", "/wait");
  const auto answer = served.echo.last();
  EXPECT_FALSE(served.server.drain(0.05));
  answer->reply({.body = "done"});
  EXPECT_TRUE(served.server.drain(5.0));
  const auto response = client.response();
  EXPECT_EQ(response.body, "done");
  EXPECT_TRUE(served.client().ask("GET", "/late").status == 200) << "new requests are the handler's to refuse";
}

TEST(HttpServer, AnswersMayOutliveIt) {
  std::shared_ptr<HttpAnswer> answer;
  Echo echo;
  {
    HttpServer server("127.0.0.1", 0, {}, echo);
    HttpClient client(server.port());
    client.request("GET", "/wait");
    answer = echo.last();
  }
  EXPECT_EQ(echo.gone, 1);
  answer->reply({.body = "late"});
}

TEST(HttpServer, NamesAnAddressThatItCannotTake) {
  Echo echo;
  EXPECT_THROW(HttpServer("no address", 0, {}, echo), Error);
  HttpServer server("127.0.0.1", 0, {}, echo);
  EXPECT_THROW(HttpServer("127.0.0.1", server.port(), {}, echo), RuntimeFailure);
}

}  // namespace
}  // namespace dlcm
