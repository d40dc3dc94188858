// A server of tiny models over sockets, and what tests ask it.
#pragma once

#include "dlcm/serve/http_client.h"
#include "dlcm/serve/server.h"
#include "tests/infer/tiny_model.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace dlcm::test {

// Within ten seconds.
inline bool soon(const std::function<bool()>& condition) {
  for (int attempt = 0; attempt < 2000; ++attempt) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

class ServerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<TemporaryDirectory>();
    for (const auto& [name, kind] : {std::pair{"tiny", ModelKind::dlcm}, std::pair{"plain", ModelKind::llama}}) {
      models_.push_back(tiny_model(tiny_config(kind)));
      save_checkpoint(*directory_ / name, checkpoint_of(models_.back()), 1);
    }
  }
  static void TearDownTestSuite() {
    models_.clear();
    directory_.reset();
  }

  static ServerSettings settings(const std::string& name = "tiny") {
    ServerSettings settings;
    settings.model = *directory_ / name;
    settings.port = 0;
    settings.requests.tokens = 2000;
    settings.engine.threads = 2;
    settings.drain_seconds = 5.0;
    return settings;
  }
  Server& start(const ServerSettings& wanted) {
    server_ = std::make_unique<Server>(wanted);
    server_->load();
    return *server_;
  }
  HttpClient client() {
    if (!server_) start(settings());
    return HttpClient(server_->port());
  }
  // A reply of status 200.
  nlohmann::json ask(const std::string& path, const nlohmann::json& body) {
    const auto response = client().ask("POST", path, body.dump());
    EXPECT_EQ(response.status, 200) << response.body;
    return nlohmann::json::parse(response.body);
  }
  nlohmann::json get(const std::string& path) { return nlohmann::json::parse(client().ask("GET", path).body); }
  // The error of a reply of status `status`.
  nlohmann::json refused(int status, const std::string& path, const std::string& body) {
    const auto response = client().ask("POST", path, body);
    EXPECT_EQ(response.status, status) << body << response.body;
    const auto error = nlohmann::json::parse(response.body).at("error");
    for (const auto* field : {"message", "type", "param", "code"}) EXPECT_TRUE(error.contains(field)) << field;
    EXPECT_FALSE(error.at("message").get<std::string>().empty());
    return error;
  }
  std::vector<nlohmann::json> events(const std::string& path, const nlohmann::json& body) {
    auto one = client();
    one.request("POST", path, body.dump());
    EXPECT_EQ(one.stream_head().fields.at("content-type"), "text/event-stream; charset=utf-8");
    std::vector<nlohmann::json> found;
    std::optional<std::string> last;
    while (const auto event = one.event()) {
      last = event;
      if (*event != "[DONE]") found.push_back(nlohmann::json::parse(*event));
    }
    EXPECT_EQ(last, "[DONE]");
    return found;
  }
  int64_t metric(const std::string& name) {
    const auto text = client().ask("GET", "/metrics").body;
    const auto place = text.find("\n" + name + " ");
    EXPECT_NE(place, std::string::npos) << name;
    return std::stoll(text.substr(place + name.size() + 2));
  }

  static inline std::unique_ptr<TemporaryDirectory> directory_;
  static inline std::vector<TinyModel> models_;
  std::unique_ptr<Server> server_;
};

}  // namespace dlcm::test
