// dlcm serve as a user starts and stops it.
#include "dlcm/serve/http_client.h"
#include "dlcm/util/error.h"
#include "tests/infer/tiny_model.h"
#include "tests/io/temporary_directory.h"
#include "tests/support/process.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <csignal>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace dlcm {
namespace {

class ServeVerb : public testing::Test {
 protected:
  void SetUp() override {
    save_checkpoint(directory_ / "tiny", test::checkpoint_of(test::tiny_model(test::tiny_config(ModelKind::dlcm))), 1);
  }

  test::Process start(std::vector<std::string> options) {
    std::vector<std::string> arguments{"serve", "--model", directory_ / "tiny", "--port", "0", "--threads", "1"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    std::filesystem::remove(directory_ / "serve.messages");  // of an earlier one, whose port is not this one's
    return test::Process(directory_ / "serve", arguments);
  }
  // The port, when the model is loaded.
  uint16_t port(const test::Process& process) {
    EXPECT_TRUE(process.wait_for_lines(directory_ / "serve.messages", 2));
    const auto messages = test::content_of(directory_ / "serve.messages");
    const auto place = messages.find("127.0.0.1:");
    return static_cast<uint16_t>(std::stoi(messages.substr(place + 10)));
  }
  static HttpResponse complete(uint16_t port, const nlohmann::json& body, const std::string& fields = "") {
    return HttpClient(port).ask("POST", "/v1/completions", body.dump(), fields);
  }

  test::TemporaryDirectory directory_;
};

TEST_F(ServeVerb, ServesUntilItIsTold) {
  for (const int signal : {SIGTERM, SIGINT}) {
    auto process = start({});
    const auto served = port(process);
    EXPECT_EQ(complete(served, {{"prompt", "Once"}, {"max_tokens", 3}}).status, 200);
    HttpClient stream(served);
    stream.request("POST", "/v1/completions",
                   R"({"prompt": "a", "max_tokens": 200, "stream": true, "ignore_eos": true})");
    stream.stream_head();
    ASSERT_TRUE(stream.event());
    process.signal(signal);
    std::optional<std::string> last;
    while (const auto event = stream.event()) last = event;
    EXPECT_EQ(last, "[DONE]") << "what is under way is finished";
    const auto finished = process.wait();
    EXPECT_EQ(finished.status, 128 + signal);
    EXPECT_NE(finished.messages.find("serving tiny"), std::string::npos) << finished.messages;
  }
}

TEST_F(ServeVerb, ASecondSignalDoesNotWait) {
  auto process = start({"--context", "60000"});
  HttpClient stream(port(process));
  stream.request("POST", "/v1/completions",
                 R"({"prompt": "a", "max_tokens": 59000, "stream": true, "ignore_eos": true})");
  stream.stream_head();
  ASSERT_TRUE(stream.event());
  process.signal(SIGTERM);
  process.signal(SIGINT);
  const int status = process.wait().status;
  EXPECT_TRUE(status == 130 || status == 143) << status;  // whichever was seen first
}

TEST_F(ServeVerb, KeepsItsLimits) {
  auto process = start({"--api-key", "k", "--context", "40", "--sequences", "2", "--cached-tokens", "60", "--queue",
                        "1", "--request-seconds", "100", "--drain-seconds", "1", "--cache", "bfloat16"});
  const auto served = port(process);
  const std::string key = "Authorization: Bearer k\r\n";
  EXPECT_EQ(complete(served, {{"prompt", "a"}}).status, 401);
  EXPECT_EQ(complete(served, {{"prompt", "a"}, {"max_tokens", 3}}, key).status, 200);
  EXPECT_EQ(complete(served, {{"prompt", std::string(39, 'a')}, {"max_tokens", 3}}, key).status, 400);
  EXPECT_EQ(complete(served, {{"prompt", "a"}, {"max_tokens", 20}, {"n", 4}}, key).status, 400);
  EXPECT_EQ(complete(served, {{"prompt", {"a", "b"}}, {"max_tokens", 3}}, key).status, 503);
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait().status, 143);
}

TEST_F(ServeVerb, SaysWhatItCannotDo) {
  EXPECT_EQ(start({"--host", "nowhere"}).wait().status, 2);
  test::Process missing(directory_ / "missing", {"serve", "--model", directory_ / "none", "--port", "0"});
  EXPECT_EQ(missing.wait().status, 2);
  auto process = start({});
  test::Process second(directory_ / "second",
                       {"serve", "--model", directory_ / "tiny", "--port", std::to_string(port(process))});
  const auto finished = second.wait();
  EXPECT_EQ(finished.status, 1);
  EXPECT_NE(finished.messages.find("cannot listen on 127.0.0.1"), std::string::npos) << finished.messages;
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait().status, 143);
}

}  // namespace
}  // namespace dlcm
