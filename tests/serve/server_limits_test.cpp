// What clients of the whole server cannot break: bad requests, limits, keys, abuse, the end.
#include "dlcm/util/error.h"
#include "tests/serve/server_fixture.h"

#include <random>

namespace dlcm {
namespace {

using nlohmann::json;
using test::ServerTest;
using test::soon;
using namespace std::chrono_literals;

TEST_F(ServerTest, RefusesBadRequestsInWords) {
  EXPECT_EQ(refused(400, "/v1/completions", "{").at("type"), "invalid_request_error");
  EXPECT_EQ(refused(400, "/v1/completions", "{\"prompt\": \"\xff\xfe\"}").at("type"), "invalid_request_error");
  EXPECT_EQ(refused(400, "/v1/completions", R"({"prompt": [300]})").at("param"), "prompt");
  EXPECT_EQ(refused(400, "/v1/completions", R"({"prompt": [-1]})").at("param"), "prompt");
  EXPECT_EQ(refused(400, "/v1/completions", R"({"max_tokens": -5})").at("param"), "max_tokens");
  EXPECT_EQ(refused(400, "/v1/completions", R"({"prompt": "a", "max_tokens": 1999})").at("code"),
            "context_length_exceeded");
  EXPECT_EQ(refused(400, "/v1/completions", json{{"prompt", std::string(3000, 'a')}}.dump()).at("code"),
            "context_length_exceeded");
  EXPECT_EQ(refused(400, "/segment", json{{"text", std::string(3000, 'a')}}.dump()).at("code"),
            "context_length_exceeded");
  EXPECT_EQ(refused(404, "/v1/completions", R"({"model": "gpt-5", "prompt": "a"})").at("code"), "model_not_found");
  EXPECT_EQ(refused(404, "/v1/nothing", "{}").at("type"), "not_found_error");
  EXPECT_EQ(refused(405, "/v1/models", "{}").at("type"), "invalid_request_error");
  EXPECT_EQ(client().ask("GET", "/v1/completions").status, 405);
  EXPECT_EQ(ask("/v1/completions", {{"prompt", "a"}, {"max_tokens", 2}})["choices"].size(), 1u);
}

TEST_F(ServerTest, RefusesABodyThatIsTooLarge) {
  auto wanted = settings();
  wanted.http.body_bytes = 1000;
  start(wanted);
  const auto error = refused(413, "/v1/completions", json{{"prompt", std::string(2000, 'a')}}.dump());
  EXPECT_NE(error.at("message").get<std::string>().find("1000 bytes"), std::string::npos);
}

TEST_F(ServerTest, AsksForItsKey) {
  auto wanted = settings();
  wanted.api.api_key = "secret";
  start(wanted);
  const auto status = [&](const std::string& path, const std::string& field) {
    return client().ask("GET", path, "", field).status;
  };
  for (const auto* path : {"/v1/models", "/metrics", "/tokenizer_info"}) {
    EXPECT_EQ(status(path, ""), 401);
    EXPECT_EQ(status(path, "Authorization: Bearer secreT\r\n"), 401);
    EXPECT_EQ(status(path, "Authorization: Bearer secret2\r\n"), 401);
    EXPECT_EQ(status(path, "Authorization: Bearer \r\n"), 401);
    EXPECT_EQ(status(path, "Authorization: secret\r\n"), 401);
    EXPECT_EQ(status(path, "Authorization: Bearer secret\r\n"), 200);
  }
  EXPECT_EQ(refused(401, "/v1/completions", "{}").at("code"), "invalid_api_key");
  EXPECT_EQ(status("/health", ""), 200);
  EXPECT_EQ(status("/", ""), 200);
}

TEST_F(ServerTest, RefusesPagesOfOtherOrigins) {
  const auto status = [&](const std::string& origin) {
    return client()
        .ask("POST", "/v1/completions", R"({"prompt": "a", "max_tokens": 1})", "Origin: " + origin + "\r\n")
        .status;
  };
  EXPECT_EQ(status("http://evil.example"), 403);
  EXPECT_EQ(status("null"), 403);
  EXPECT_EQ(status("http://localhost"), 200);
}

TEST_F(ServerTest, AnswersBeforeItsModelIsThere) {
  server_ = std::make_unique<Server>(settings());
  EXPECT_EQ(refused(503, "/v1/completions", R"({"prompt": "a"})").at("code"), "loading");
  EXPECT_EQ(client().ask("GET", "/health").status, 503);
  EXPECT_EQ(client().ask("GET", "/").status, 200);
  server_->load();
  EXPECT_EQ(ask("/v1/completions", {{"prompt", "a"}, {"max_tokens", 1}})["choices"].size(), 1u);
}

TEST_F(ServerTest, RefusesWhatDoesNotFitIntoTheQueue) {
  auto wanted = settings();
  wanted.scheduler.waiting = 3;
  start(wanted);
  EXPECT_EQ(refused(503, "/v1/completions", R"({"prompt": ["a", "b", "c", "d"]})").at("code"), "queue_full");
  EXPECT_EQ(ask("/v1/completions", {{"prompt", {"a", "b", "c"}}, {"max_tokens", 1}})["choices"].size(), 3u);
}

TEST_F(ServerTest, FreesTheSlotOfAClientThatVanishes) {
  auto wanted = settings();
  wanted.scheduler.sequences = 2;
  wanted.requests.tokens = 30000;
  start(wanted);
  for (const bool streaming : {true, false}) {
    std::vector<HttpClient> vanishing;
    for (int i = 0; i < 4; ++i) {
      vanishing.push_back(client());
      vanishing.back().request(
          "POST", "/v1/completions",
          json{{"prompt", "a"}, {"max_tokens", 29000}, {"stream", streaming}, {"ignore_eos", true}}.dump());
    }
    EXPECT_TRUE(soon([&] { return metric("dlcm_running_prompts") == 2 && metric("dlcm_waiting_prompts") == 2; }));
    for (auto& one : vanishing) one.close(/*abruptly=*/true);
    EXPECT_EQ(ask("/v1/completions", {{"prompt", "a"}, {"max_tokens", 2}})["choices"].size(), 1u);
    EXPECT_TRUE(soon([&] { return metric("dlcm_running_prompts") == 0 && metric("dlcm_waiting_prompts") == 0; }));
  }
  EXPECT_EQ(metric("dlcm_cancelled_total"), 8);
}

TEST_F(ServerTest, OthersAbuseDoesNotDisturbAStream) {
  start(settings());
  const json body{{"prompt", "Once"}, {"max_tokens", 400}, {"seed", 4}, {"ignore_eos", true}};
  const auto expected = ask("/v1/completions", body)["choices"][0]["text"].get<std::string>();
  std::atomic<bool> ending{false};
  std::thread abuse([&] {
    std::mt19937 random(2);
    const std::vector<std::string> bodies{
        "{",    R"({"prompt": [999]})", R"({"prompt": "b", "max_tokens": 5})",
        "\xff", R"({"messages": []})",  R"({"prompt": "c", "max_tokens": 300, "stream": true})"};
    while (!ending) {
      HttpClient one(server_->port());
      const auto kind = random() % 8;
      if (kind == 6) {
        one.send("nonsense\r\n\r\n");
      } else if (kind == 7) {
        one.send("POST /v1/completions HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc");
      } else {
        one.request("POST", kind == 4 ? "/v1/chat/completions" : "/v1/completions", bodies[kind]);
        if (kind < 5) one.response();
      }
      one.close(random() % 2 == 0);
    }
  });
  for (int round = 0; round < 3; ++round) {
    auto streamed = body;
    streamed["stream"] = true;
    std::string text;
    for (const auto& event : events("/v1/completions", streamed))
      text += event["choices"][0]["text"].get<std::string>();
    EXPECT_EQ(text, expected);
  }
  ending = true;
  abuse.join();
}

TEST_F(ServerTest, FinishesWhatIsUnderWayAndRefusesTheRest) {
  auto wanted = settings();
  wanted.requests.tokens = 30000;
  start(wanted);
  auto one = client();
  one.request("POST", "/v1/completions",
              json{{"prompt", "a"}, {"max_tokens", 300}, {"stream", true}, {"ignore_eos", true}}.dump());
  one.stream_head();
  ASSERT_TRUE(one.event());
  std::thread draining([&] { server_->drain([] { return true; }); });
  EXPECT_TRUE(soon([&] { return client().ask("GET", "/health").status == 503; }));
  EXPECT_EQ(refused(503, "/v1/completions", R"({"prompt": "a"})").at("code"), "draining");
  int64_t chunks = 1;
  std::optional<std::string> last;
  while (const auto event = one.event()) last = event, ++chunks;
  EXPECT_EQ(last, "[DONE]");
  draining.join();
}

TEST_F(ServerTest, FailsAtTheEndOfItsPatience) {
  auto wanted = settings();
  wanted.requests.tokens = 60000;
  wanted.drain_seconds = 0.1;
  start(wanted);
  auto stream = client(), whole = client();
  const json body{{"prompt", "a"}, {"max_tokens", 30000}, {"ignore_eos", true}};
  auto streamed = body;
  streamed["stream"] = true;
  stream.request("POST", "/v1/completions", streamed.dump());
  whole.request("POST", "/v1/completions", body.dump());
  stream.stream_head();
  ASSERT_TRUE(stream.event());
  ASSERT_TRUE(soon([&] { return metric("dlcm_running_prompts") == 2; }));
  server_->drain([] { return true; });
  EXPECT_EQ(whole.response().status, 503);
  std::string last;
  while (const auto event = stream.event()) last = *event;
  EXPECT_TRUE(json::parse(last).contains("error")) << last;
}

}  // namespace
}  // namespace dlcm
