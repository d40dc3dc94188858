// Requests as JSON: what they become, and what is refused in which words.
#include "dlcm/serve/generation_request.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <random>

namespace dlcm {
namespace {

const RequestLimits kLimits{.prompts = 4, .samples = 8, .sequences = 16, .tokens = 100, .vocabulary = 258};

GenerationRequest completion(const std::string& body) { return parse_completion(body, kLimits); }

// The message and the field of what is refused.
template <typename Parse>
std::string refusal(Parse parse) {
  try {
    parse();
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status(), 400);
    const auto json = nlohmann::json::parse(error.json()).at("error");
    EXPECT_EQ(json.at("type"), "invalid_request_error");
    return (json.at("param").is_null() ? "" : json.at("param").get<std::string>()) + ": " +
           json.at("message").get<std::string>();
  }
  return "accepted";
}

void expect_refused(const std::string& body, const std::string& beginning) {
  EXPECT_EQ(refusal([&] { completion(body); }).substr(0, beginning.size()), beginning) << body;
}

TEST(CompletionRequest, TakesPromptsInAllTheirForms) {
  EXPECT_EQ(*completion(R"({"prompt": "a\u00e9\u0000b"})").prompts.at(0).text, std::string("a\xC3\xA9\0b", 5));
  const auto texts = completion(R"({"prompt": ["a", "", "b"]})").prompts;
  ASSERT_EQ(texts.size(), 3u);
  EXPECT_EQ(*texts[1].text, "");
  const auto ids = completion(R"({"prompt": [0, 257]})").prompts;
  ASSERT_EQ(ids.size(), 1u);
  EXPECT_FALSE(ids[0].text);
  EXPECT_EQ(ids[0].ids, (std::vector<int32_t>{0, 257}));
  const auto lists = completion(R"({"prompt": [[1], [2, 3], "mixed"]})").prompts;
  ASSERT_EQ(lists.size(), 3u);
  EXPECT_EQ(lists[1].ids, (std::vector<int32_t>{2, 3}));
  EXPECT_EQ(*completion("{}").prompts.at(0).text, "");
}

TEST(CompletionRequest, HasTheDefaultsOfTheApi) {
  const auto request = completion(R"({"prompt": "a", "stop": null, "seed": null, "logprobs": null})");
  EXPECT_EQ(request.max_tokens, 16);
  EXPECT_EQ(request.samples, 1);
  EXPECT_EQ(request.temperature, 1.0);
  EXPECT_EQ(request.top_p, 1.0);
  EXPECT_FALSE(request.seed || request.likely_tokens || request.echo || request.stream || request.return_concepts);
}

TEST(CompletionRequest, ReadsEveryField) {
  const auto request = completion(R"({"model": "m", "prompt": "a", "max_tokens": 5, "n": 2, "best_of": 2,
      "temperature": 0, "top_p": 0.5, "top_k": 7, "min_p": 0.1, "seed": -3, "stop": ["x", "", "y"], "logprobs": 3,
      "echo": true, "stream": true, "stream_options": {"include_usage": true}, "ratio": 3.5, "return_concepts": true,
      "ignore_eos": true, "user": "someone", "anything": {"else": [1]}})");
  EXPECT_EQ(request.model, "m");
  EXPECT_EQ(request.max_tokens, 5);
  EXPECT_EQ(request.samples, 2);
  EXPECT_EQ(request.temperature, 0.0);
  EXPECT_EQ(request.top_p, 0.5);
  EXPECT_EQ(request.top_k, 7);
  EXPECT_EQ(request.min_p, 0.1);
  EXPECT_EQ(request.seed, static_cast<uint64_t>(-3));
  EXPECT_EQ(request.stops, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(request.likely_tokens, 3);
  EXPECT_TRUE(request.echo && request.stream && request.include_usage && request.return_concepts && request.ignore_end);
  EXPECT_EQ(request.ratio, 3.5);
  EXPECT_EQ(completion(R"({"stop": "x", "top_k": -1})").stops, std::vector<std::string>{"x"});
}

TEST(CompletionRequest, RefusesWhatIsNoJsonObject) {
  for (const std::string body : {"", "{", "nonsense", "[1]", "\"text\"", "{\"prompt\": \"\xff\"}",
                                 "{\"a\": \"\\ud800\"}", "{\"temperature\": 1e999}", "{} {}", "\xef\xbb\xbf"}) {
    expect_refused(body, ": expected a JSON object");
  }
  expect_refused(std::string(100000, '['), ": expected a JSON object nested at most 16 deep");
  std::string deep = R"({"prompt":)";
  for (int i = 0; i < 50; ++i) deep += "[";
  expect_refused(deep, ": expected a JSON object nested at most 16 deep");
}

TEST(CompletionRequest, RefusesWrongTypesAndValuesByName) {
  for (const auto& [body, beginning] : std::vector<std::pair<std::string, std::string>>{
           {R"({"prompt": 5})", "prompt: expected a string, a list of strings"},
           {R"({"prompt": []})", "prompt: expected a string, a list of strings"},
           {R"({"prompt": {}})", "prompt: expected a string, a list of strings"},
           {R"({"prompt": [258]})", "prompt: expected ids from 0 to 257 in prompt, found 258 at place 0"},
           {R"({"prompt": [1, -1]})", "prompt: expected ids from 0 to 257 in prompt, found -1 at place 1"},
           {R"({"prompt": [1, 2.5]})", "prompt: expected ids from 0 to 257 in prompt, found 2.5 at place 1"},
           {R"({"prompt": [1, "a"]})", "prompt: expected ids from 0 to 257 in prompt, found \"a\" at place 1"},
           {R"({"prompt": [18446744073709551615]})", "prompt: expected ids from 0 to 257"},
           {R"({"prompt": ["a", 1]})", "prompt: expected strings, or lists of ids"},
           {R"({"prompt": [[], [1]]})",
            "prompt: expected strings, or lists of ids that are not empty, in prompt, found an"},
           {R"({"prompt": ["a", "b", "c", "d", "e"]})", "prompt: expected at most 4 prompts in a request, found 5"},
           {R"({"prompt": ["a", "b", "c"], "n": 8})", "n: expected at most 16 sequences"},
           {R"({"model": 3})", "model: expected a string as model, found 3"},
           {R"({"n": 0})", "n: expected a whole number from 1 to 8 as n, found 0"},
           {R"({"n": "2"})", "n: expected a whole number from 1 to 8 as n, found \"2\""},
           {R"({"n": 1e300})", "n: expected a whole number"},
           {R"({"max_tokens": -1})", "max_tokens: expected a whole number from 0 to 100 as max_tokens, found -1"},
           {R"({"max_tokens": 101})", "max_tokens: expected a whole number from 0 to 100 as max_tokens, found 101"},
           {R"({"max_tokens": 9223372036854775808})", "max_tokens: expected a whole number from 0 to 100"},
           {R"({"max_tokens": 0})", "max_tokens: expected max_tokens of at least 1, or echo"},
           {R"({"max_tokens": 1.5})", "max_tokens: expected a whole number"},
           {R"({"temperature": -0.1})", "temperature: expected a number from 0 to 100 as temperature, found -0.1"},
           {R"({"temperature": "hot"})", "temperature: expected a number from 0 to 100 as temperature, found \"hot\""},
           {R"({"top_p": 0})", "top_p: expected top_p above 0"},
           {R"({"top_p": 1.1})", "top_p: expected a number from 0 to 1 as top_p, found 1.1"},
           {R"({"top_k": -2})", "top_k: expected a whole number from -1"},
           {R"({"min_p": 2})", "min_p: expected a number from 0 to 1 as min_p, found 2"},
           {R"({"seed": 1.5})", "seed: expected a whole number"},
           {R"({"seed": 18446744073709551615})", "seed: expected a whole number"},
           {R"({"stop": 3})", "stop: expected strings as stop, found 3"},
           {R"({"stop": ["a", []]})", "stop: expected strings as stop, found an array"},
           {R"({"logprobs": 21})", "logprobs: expected a whole number from 0 to 20 as logprobs, found 21"},
           {R"({"logprobs": true})", "logprobs: expected a whole number from 0 to 20 as logprobs, found true"},
           {R"({"echo": 1})", "echo: expected true or false as echo, found 1"},
           {R"({"stream": "yes"})", "stream: expected true or false as stream, found \"yes\""},
           {R"({"stream_options": 1})", "stream_options: expected an object"},
           {R"({"stream_options": {"include_usage": 3}})", "stream_options: expected true or false"},
           {R"({"threshold": 1.5})", "threshold: expected a number from 0 to 1 as threshold, found 1.5"},
           {R"({"ratio": 0.5})", "ratio: expected a number from 1 to 1000000 as ratio, found 0.5"},
           {R"({"ratio": 2, "threshold": 0.5})", "ratio: expected threshold or ratio, found both"},
           {R"({"return_concepts": "all"})", "return_concepts: expected true or false"},
       }) {
    expect_refused(body, beginning);
  }
  expect_refused(R"({"stop": ")" + std::string(257, 'x') + "\"}", "stop: expected stop strings of at most 256 bytes");
  expect_refused(R"({"stop": [)" + std::string("\"a\"") +
                     [] {
                       std::string more;
                       for (int i = 0; i < 16; ++i) more += ",\"a\"";
                       return more;
                     }() +
                     "]}",
                 "stop: expected at most 16 stop strings, found 17");
}

TEST(CompletionRequest, RefusesWhatWouldBeIgnoredSilently) {
  for (const auto* field : {R"("best_of": 2)", R"("presence_penalty": 0.5)", R"("frequency_penalty": -1)",
                            R"("logit_bias": {"5": 1})", R"("suffix": "end")", R"("tools": [{}])",
                            R"("response_format": {"type": "json_object"})", R"("response_format": 3)"}) {
    const auto words = refusal([&] { completion(std::string("{") + field + "}"); });
    EXPECT_NE(words.find("is not supported here"), std::string::npos) << field << words;
  }
  const auto request = completion(R"({"prompt": "a", "best_of": 1, "presence_penalty": 0, "frequency_penalty": 0.0,
      "logit_bias": {}, "suffix": "", "tools": [], "response_format": {"type": "text"}})");
  EXPECT_EQ(*request.prompts.at(0).text, "a");
  EXPECT_EQ(request.samples, 1);
}

TEST(CompletionRequest, NothingMadeOfPiecesOfRequestsBreaksIt) {
  const std::vector<std::string> pieces{"{",
                                        "}",
                                        "[",
                                        "]",
                                        ",",
                                        ":",
                                        "\"",
                                        "\\",
                                        "null",
                                        "true",
                                        "1",
                                        "-1",
                                        "1e400",
                                        "\"prompt\"",
                                        "\"stop\"",
                                        "\"n\"",
                                        "\"messages\"",
                                        "\"role\"",
                                        "\"user\"",
                                        "\"content\"",
                                        "\"logprobs\"",
                                        "\xff",
                                        "\\u0000",
                                        " "};
  std::mt19937 random(5);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string body = round % 2 == 0 ? R"({"prompt":)" : R"({"messages":[{"role":"user","content":"a"}],)";
    for (auto count = random() % 8; count > 0; --count) body += pieces[random() % pieces.size()];
    body += "}";
    for (const auto parse : {parse_completion, parse_chat}) {
      try {
        parse(body, kLimits);
        ++accepted;
      } catch (const ApiError& error) {
        EXPECT_EQ(error.status(), 400);
        EXPECT_TRUE(nlohmann::json::accept(error.json()));
      }
    }
  }
  EXPECT_GT(accepted, 0);
}

TEST(ChatRequest, MakesOnePromptOfTheMessages) {
  const auto request = parse_chat(R"({"messages": [
      {"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"},
       {"type": "text", "text": "!"}]}, {"role": "assistant", "content": null}, {"role": "user", "content": "So?"}],
      "max_completion_tokens": 7, "max_tokens": 9, "logprobs": true, "top_logprobs": 2})",
                                  kLimits);
  EXPECT_EQ(*request.prompts.at(0).text, "System: Be brief.\nUser: Hi!\nAssistant: \nUser: So?\nAssistant:");
  EXPECT_EQ(request.max_tokens, 7);
  EXPECT_EQ(request.likely_tokens, 2);
  EXPECT_EQ(request.stops, std::vector<std::string>{"\nUser:"});
  EXPECT_FALSE(parse_chat(R"({"messages": [{"role": "user", "content": "a"}]})", kLimits).likely_tokens);
}

TEST(ChatRequest, RefusesWhatIsNoDialogue) {
  for (const auto& [body, beginning] : std::vector<std::pair<std::string, std::string>>{
           {"{}", "messages: expected a list of messages"},
           {R"({"messages": []})", "messages: expected a list of messages as messages, found an empty one"},
           {R"({"messages": "hi"})", "messages: expected a list of messages as messages, found \"hi\""},
           {R"({"messages": ["hi"]})", "messages[0]: expected an object as messages[0], found \"hi\""},
           {R"({"messages": [{"content": "a"}]})", "messages[0].role: expected system, developer, user or assistant"},
           {R"({"messages": [{"role": "king", "content": "a"}]})", "messages[0].role: expected system"},
           {R"({"messages": [{"role": "user", "content": 5}]})", "messages[0].content: expected a string or a list"},
           {R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})",
            "messages[0].content: expected parts of type text"},
           {R"({"messages": [{"role": "user", "content": "a"}], "max_tokens": 0})",
            "max_tokens: expected a whole number"},
           {R"({"messages": [{"role": "user", "content": "a"}], "top_logprobs": 2})",
            "top_logprobs: top_logprobs needs"},
       }) {
    EXPECT_EQ(refusal([&] { parse_chat(body, kLimits); }).substr(0, beginning.size()), beginning) << body;
  }
}

TEST(OtherRequests, AreReadAndRefused) {
  EXPECT_EQ(parse_segment(R"({"text": "a", "threshold": 0.4})").threshold, 0.4);
  EXPECT_EQ(refusal([] { parse_segment("{}"); }), "text: expected a string as text, found none");
  EXPECT_TRUE(parse_tokenize(R"({"prompt": "a"})").add_special_tokens);
  EXPECT_FALSE(parse_tokenize(R"({"prompt": "a", "add_special_tokens": false})").add_special_tokens);
  EXPECT_EQ(refusal([] { parse_tokenize(R"({"prompt": 1})"); }), "prompt: expected a string as prompt, found 1");
  EXPECT_EQ(parse_detokenize(R"({"tokens": [5, 6]})", kLimits), (std::vector<int32_t>{5, 6}));
  EXPECT_TRUE(parse_detokenize(R"({"tokens": []})", kLimits).empty());
  EXPECT_EQ(refusal([] { parse_detokenize(R"({"tokens": [999]})", kLimits); }),
            "tokens: expected ids from 0 to 257 in tokens, found 999 at place 0");
  EXPECT_EQ(refusal([] { parse_detokenize(R"({"tokens": 5})", kLimits); }),
            "tokens: expected a list of ids as tokens, found 5");
}

TEST(ChatRequest, TakesADeveloperForTheSystem) {
  EXPECT_EQ(chat_prompt({{"developer", "a"}}), "System: a\nAssistant:");
}

}  // namespace
}  // namespace dlcm
