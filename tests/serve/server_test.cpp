// The whole server over sockets, with tiny models: every endpoint, and what clients get.
#include "dlcm/infer/generate.h"
#include "dlcm/infer/score.h"
#include "dlcm/util/utf8.h"
#include "tests/serve/server_fixture.h"

#include <cmath>

namespace dlcm {
namespace {

using nlohmann::json;
using test::ServerTest;

TEST_F(ServerTest, TellsWhatItServes) {
  const auto models = get("/v1/models");
  EXPECT_EQ(models.at("object"), "list");
  const auto& entry = models.at("data").at(0);
  EXPECT_EQ(entry.at("id"), "tiny");
  EXPECT_TRUE(entry.at("concepts").get<bool>());
  EXPECT_TRUE(entry.at("ratio_adjustable").get<bool>());
  EXPECT_EQ(get("/v1/models/tiny"), entry);
  EXPECT_EQ(client().ask("GET", "/v1/models/other").status, 404);
  EXPECT_EQ(get("/health").at("status"), "ok");
  const auto info = get("/tokenizer_info");
  EXPECT_EQ(info.at("eos_token"), "<|endoftext|>");
  EXPECT_EQ(info.at("bos_token"), "<|bos|>");
  EXPECT_TRUE(info.at("pad_token").is_string());
  EXPECT_NE(info.at("chat_template").get<std::string>().find("messages"), std::string::npos);
}

TEST_F(ServerTest, Tokenises) {
  EXPECT_EQ(ask("/tokenize", {{"prompt", "ab<|endoftext|>"}, {"add_special_tokens", false}}).at("tokens"),
            json({97, 98, 256}));
  EXPECT_EQ(ask("/tokenize", {{"prompt", "<|bos|><|bos|>a"}, {"add_special_tokens", false}}).at("tokens"),
            json({257, 257, 97}));
  EXPECT_EQ(ask("/tokenize", {{"prompt", "a"}}).at("tokens"), json({257, 97}));
  EXPECT_EQ(ask("/tokenize", {{"prompt", ""}, {"add_special_tokens", false}}).at("tokens"), json::array());
  EXPECT_EQ(ask("/detokenize", {{"tokens", {257, 97, 0xC3, 0xA9, 256}}}).at("prompt"), "<|bos|>aé<|endoftext|>");
  EXPECT_EQ(ask("/detokenize", {{"tokens", {97, 0xC3}}}).at("prompt"), "a\uFFFD");
}

TEST_F(ServerTest, ContinuesAsGenerateDoes) {
  GenerateSettings generated;
  generated.max_tokens = 25;
  generated.sampling = {.temperature = 0.9, .top_k = 50, .top_p = 0.95, .seed = 42};
  const auto expected = generate(models_[0], "Once upon", generated);
  const json body{{"model", "tiny"}, {"prompt", "Once upon"}, {"max_tokens", 25}, {"temperature", 0.9},
                  {"top_k", 50},     {"top_p", 0.95},         {"seed", 42}};
  const auto reply = ask("/v1/completions", body);
  EXPECT_EQ(reply.at("object"), "text_completion");
  EXPECT_EQ(reply.at("model"), "tiny");
  const auto& choice = reply.at("choices").at(0);
  EXPECT_EQ(choice.at("text"), valid_utf8(expected.text));
  EXPECT_EQ(choice.at("finish_reason"), expected.finish_reason == FinishReason::stop ? "stop" : "length");
  EXPECT_TRUE(choice.at("logprobs").is_null());
  EXPECT_FALSE(choice.contains("concepts"));
  EXPECT_EQ(reply.at("usage").at("prompt_tokens"), 10);
  EXPECT_EQ(reply.at("usage").at("completion_tokens").get<int64_t>(),
            static_cast<int64_t>(expected.tokens.size()) + (expected.finish_reason == FinishReason::stop));
}

// What lm-evaluation-harness asks for.
TEST_F(ServerTest, EchoesAPromptWithItsScores) {
  const std::vector<std::vector<int32_t>> prompts{{257, 97, 98, 0xC3, 0xA9}, {5}, {97, 0xE4, 98}};
  const auto reply = ask(
      "/v1/completions",
      {{"prompt", prompts}, {"echo", true}, {"max_tokens", 1}, {"logprobs", 1}, {"temperature", 0}, {"seed", 1234}});
  ASSERT_EQ(reply.at("choices").size(), 3u);
  const auto documents = score_ids(models_[0], prompts, 0.5);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto& choice = reply["choices"][i];
    EXPECT_EQ(choice.at("index"), i);
    const auto& logprobs = choice.at("logprobs");
    for (const auto* array : {"tokens", "token_logprobs", "top_logprobs", "text_offset"}) {
      EXPECT_EQ(logprobs.at(array).size(), prompts[i].size() + 1) << array;
    }
    EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
    EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
    for (size_t t = 1; t < prompts[i].size(); ++t) {
      const auto logprob = logprobs["token_logprobs"][t].get<double>();
      EXPECT_EQ(logprob, documents[i].logprobs[t]) << "what dlcm score says";
      const auto& top = logprobs["top_logprobs"][t];
      EXPECT_EQ(top.size(), documents[i].greedy[t] ? 1u : 2u);
      EXPECT_EQ(top.at(logprobs["tokens"][t].get<std::string>()), logprob);
      double best = -1e9;
      for (const auto& value : top) best = std::max(best, value.get<double>());
      EXPECT_EQ(best == logprob, documents[i].greedy[t]);
    }
    // The generated token is the most likely one.
    EXPECT_EQ(logprobs["top_logprobs"].back().size(), 1u);
  }
  EXPECT_EQ(reply["choices"][0]["logprobs"]["tokens"][3], "bytes:\\xc3");
  const auto& offsets = reply["choices"][0]["logprobs"]["text_offset"];
  EXPECT_EQ(offsets, json({0, 0, 1, 2, 2, 3}));
  EXPECT_EQ(reply["choices"][0].at("text").get<std::string>().compare(0, 4, "ab\xC3\xA9"), 0);
  EXPECT_EQ(reply.at("usage").at("prompt_tokens"), 9);
  EXPECT_EQ(reply.at("usage").at("completion_tokens"), 3);
}

TEST_F(ServerTest, EchoesThePromptOnly) {
  const auto reply = ask("/v1/completions", {{"prompt", "ab"}, {"echo", true}, {"max_tokens", 0}, {"logprobs", 0}});
  const auto& choice = reply.at("choices").at(0);
  EXPECT_EQ(choice.at("text"), "ab");
  EXPECT_EQ(choice.at("finish_reason"), "length");
  EXPECT_EQ(choice["logprobs"]["tokens"], json({"<|bos|>", "a", "b"}));
  EXPECT_EQ(choice["logprobs"]["text_offset"], json({0, 0, 1}));
  EXPECT_EQ(choice["logprobs"]["top_logprobs"][1].size(), 1u);
  EXPECT_EQ(reply["usage"]["completion_tokens"], 0);
}

TEST_F(ServerTest, NumbersChoicesByPromptAndSample) {
  const json body{{"prompt", {"Once", "upon a time"}}, {"n", 3}, {"max_tokens", 6}, {"seed", 3}, {"ignore_eos", true}};
  const auto reply = ask("/v1/completions", body);
  ASSERT_EQ(reply.at("choices").size(), 6u);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(reply["choices"][i]["index"], i);
  EXPECT_NE(reply["choices"][0]["text"], reply["choices"][1]["text"]);
  // A prompt gets what it gets alone.
  const auto alone = ask("/v1/completions",
                         {{"prompt", "upon a time"}, {"n", 3}, {"max_tokens", 6}, {"seed", 3}, {"ignore_eos", true}});
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(alone["choices"][i]["text"], reply["choices"][3 + i]["text"]);
  EXPECT_EQ(reply["usage"]["completion_tokens"], 36);
}

TEST_F(ServerTest, StopsAtAnyOfSeveralStrings) {
  const json body{{"prompt", "Once"}, {"max_tokens", 40}, {"seed", 8}, {"ignore_eos", true}};
  const auto text = ask("/v1/completions", body).at("choices").at(0).at("text").get<std::string>();
  ASSERT_GT(text.size(), 12u);
  // A stop string that is text of its own, whatever bytes the tiny model draws.
  size_t place = std::string::npos;
  for (size_t i = 4; i < text.size() && place == std::string::npos; ++i) {
    if (static_cast<unsigned char>(text[i]) < 0x80 && text.find(text[i]) == i) place = i;
  }
  ASSERT_NE(place, std::string::npos);
  auto stopped = body;
  stopped["stop"] = {"never-there", text.substr(place, 1), "nor this", "x-x-x", "fifth"};
  const auto choice = ask("/v1/completions", stopped).at("choices").at(0);
  EXPECT_EQ(choice.at("text"), text.substr(0, place));
  EXPECT_EQ(choice.at("finish_reason"), "stop");
}

TEST_F(ServerTest, StreamsWhatItWouldReply) {
  for (const int logprobs : {-1, 2}) {
    json body{{"prompt", {"Once", "upon"}}, {"n", 2}, {"max_tokens", 30}, {"seed", 5}, {"return_concepts", true}};
    if (logprobs >= 0) body["logprobs"] = logprobs;
    const auto whole = ask("/v1/completions", body);
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
    std::vector<std::string> texts(4);
    std::vector<json> tokens(4, json::array()), concepts(4, json::array()), reasons(4);
    const auto all = events("/v1/completions", body);
    for (const auto& event : all) {
      ASSERT_TRUE(event.contains("usage"));
      if (event.at("choices").empty()) continue;
      const auto& choice = event["choices"][0];
      const auto index = choice.at("index").get<size_t>();
      const auto piece = choice.at("text").get<std::string>();
      EXPECT_TRUE(is_utf8(piece));
      texts[index] += piece;
      EXPECT_TRUE(reasons[index].is_null()) << "nothing behind the last chunk";
      reasons[index] = choice.at("finish_reason");
      if (!choice.at("logprobs").is_null()) {
        for (const auto& token : choice["logprobs"]["tokens"]) tokens[index].push_back(token);
      }
      if (!choice.at("concepts").is_null()) {
        for (const auto& one : choice["concepts"]["concept"]) concepts[index].push_back(one);
      }
    }
    EXPECT_EQ(all.back().at("usage").at("total_tokens"), whole["usage"]["total_tokens"]);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(texts[i], whole["choices"][i]["text"]);
      EXPECT_EQ(reasons[i], whole["choices"][i]["finish_reason"]);
      EXPECT_EQ(concepts[i], whole["choices"][i]["concepts"]["concept"]);
      if (logprobs >= 0) {
        EXPECT_EQ(tokens[i], whole["choices"][i]["logprobs"]["tokens"]);
      }
    }
  }
}

TEST_F(ServerTest, TellsConceptsOfPromptAndText) {
  const json body{{"prompt", "It was the best of times"},
                  {"echo", true},
                  {"max_tokens", 8},
                  {"return_concepts", true},
                  {"logprobs", 0},
                  {"ignore_eos", true}};
  const auto concepts = ask("/v1/completions", body).at("choices").at(0).at("concepts");
  ASSERT_EQ(concepts.at("concept").size(), 33u);
  const auto document = score(models_[0], {"It was the best of times"}, 0.5).front();
  int64_t number = -1;
  for (size_t i = 0; i < 33; ++i) {
    number += concepts["boundary"][i].get<bool>();
    EXPECT_EQ(concepts["concept"][i], number);
    EXPECT_EQ(concepts["boundary"][i].get<bool>(), concepts["boundary_prob"][i].get<double>() >= 0.5);
    if (i < document.ids.size()) {
      EXPECT_EQ(concepts["boundary_prob"][i].get<double>(), document.boundary_prob[i]);
    }
  }
  EXPECT_EQ(concepts["boundary"][0], true);
}

TEST_F(ServerTest, CutsAsItIsAsked) {
  const std::string text = "It was the best of times, it was the worst of times.";
  const auto own = ask("/segment", {{"text", text}});
  const auto document = score(models_[0], {text}, 0.5).front();
  EXPECT_EQ(own.at("boundary_prob").get<std::vector<double>>(), document.boundary_prob);
  EXPECT_EQ(own.at("concepts").size(), static_cast<size_t>(document.concepts()));
  std::string joined;
  int64_t tokens = 0;
  for (const auto& concept_json : own["concepts"]) {
    joined += concept_json.at("text").get<std::string>();
    tokens += concept_json.at("tokens").get<int64_t>();
  }
  EXPECT_EQ(joined, text);
  EXPECT_EQ(tokens, static_cast<int64_t>(document.ids.size()));
  EXPECT_EQ(own.at("tokens").size(), document.ids.size());
  EXPECT_EQ(ask("/segment", {{"text", text}, {"threshold", 0.0}}).at("concepts").size(), document.ids.size());
  EXPECT_EQ(ask("/segment", {{"text", text}, {"ratio", 1.0}}).at("threshold"), 0.0);
  const auto few =
      ask("/v1/completions",
          {{"prompt", text}, {"echo", true}, {"max_tokens", 0}, {"threshold", 1.0}, {"return_concepts", true}});
  EXPECT_LE(few["choices"][0]["concepts"]["concept"].back(), 1) << "only what scores 1 opens a concept";
  EXPECT_EQ(ask("/segment", {{"text", ""}}).at("concepts").size(), 1u);
}

TEST_F(ServerTest, ChatsInTheApisForm) {
  const json body{{"messages", {{{"role", "user"}, {"content", "Hello"}}}},
                  {"max_tokens", 10},
                  {"seed", 1},
                  {"logprobs", true},
                  {"top_logprobs", 2}};
  const auto reply = ask("/v1/chat/completions", body);
  EXPECT_EQ(reply.at("object"), "chat.completion");
  const auto& choice = reply.at("choices").at(0);
  EXPECT_EQ(choice.at("message").at("role"), "assistant");
  EXPECT_EQ(choice.at("logprobs").at("content").size(), reply["usage"]["completion_tokens"].get<size_t>());
  // <|bos|> and "User: Hello\nAssistant:"
  EXPECT_EQ(reply["usage"]["prompt_tokens"], 1 + 22);
  auto streamed = body;
  streamed["stream"] = true;
  std::string text;
  const auto all = events("/v1/chat/completions", streamed);
  EXPECT_EQ(all.front()["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(all.back()["choices"][0]["finish_reason"], choice["finish_reason"]);
  for (const auto& event : all) {
    EXPECT_EQ(event.at("object"), "chat.completion.chunk");
    text += event["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(text, choice["message"]["content"]);
}

TEST_F(ServerTest, ServesModelsWithoutConcepts) {
  start(settings("plain"));
  EXPECT_EQ(get("/v1/models")["data"][0]["concepts"], false);
  EXPECT_EQ(ask("/v1/completions", {{"prompt", "a"}, {"max_tokens", 3}})["choices"].size(), 1u);
  EXPECT_EQ(refused(400, "/segment", R"({"text": "a"})").at("param"), "text");
  EXPECT_EQ(refused(400, "/v1/completions", R"({"prompt": "a", "ratio": 4})").at("param"), "ratio");
  EXPECT_EQ(refused(400, "/v1/completions", R"({"prompt": "a", "return_concepts": true})").at("param"),
            "return_concepts");
}

// Abuse: a clear error each, and the server goes on.

TEST_F(ServerTest, CountsWhatItDoes) {
  ask("/v1/completions", {{"prompt", "Once upon a time"}, {"max_tokens", 10}, {"ignore_eos", true}});
  EXPECT_EQ(metric("dlcm_prompt_tokens_total"), 17);
  EXPECT_EQ(metric("dlcm_generated_tokens_total"), 10);
  EXPECT_EQ(metric("dlcm_read_tokens_total"), 26);
  EXPECT_GT(metric("dlcm_concepts_total"), 0);
  EXPECT_EQ(metric("dlcm_token_seconds_count"), 9);
  EXPECT_EQ(metric("dlcm_first_token_seconds_count"), 1);
  const auto text = client().ask("GET", "/metrics").body;
  EXPECT_NE(text.find("dlcm_answers_total{endpoint=\"/v1/completions\",status=\"200\"} 1\n"), std::string::npos);
  EXPECT_NE(text.find("dlcm_request_seconds_bucket{le=\"+Inf\"} 1\n"), std::string::npos);
}

TEST_F(ServerTest, HasAPageThatNeedsNothingElse) {
  const auto response = client().ask("GET", "/");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.fields.at("content-type"), "text/html; charset=utf-8");
  EXPECT_NE(response.fields.at("content-security-policy").find("default-src 'none'"), std::string::npos);
  EXPECT_EQ(response.body.find("{{"), std::string::npos);
  EXPECT_EQ(response.body.find("src=\"http"), std::string::npos);
  EXPECT_NE(response.body.find("v1/completions"), std::string::npos);
}

TEST(ServedModelName, ComesFromThePath) {
  EXPECT_EQ(model_name("/nowhere/runs/small/step-00001000"), "small");
  EXPECT_EQ(model_name("/nowhere/small-int8.safetensors"), "small-int8");
}

TEST(ApiKeys, AreEqualOrNot) {
  EXPECT_TRUE(equal_keys("abc", "abc"));
  for (const auto* other : {"", "ab", "abd", "abcd", "Abc"}) EXPECT_FALSE(equal_keys(other, "abc")) << other;
}

}  // namespace
}  // namespace dlcm
