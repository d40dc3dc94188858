// Names of tokens, and the arrays of log-probabilities and concepts.
#include "dlcm/serve/token_arrays.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace dlcm {
namespace {

using json = nlohmann::ordered_json;

// Ids 0 to 4: "a", the two halves of "é", a byte that is "a" again, an ending.
class FewTokens : public Tokenizer {
 public:
  int64_t vocabulary() const override { return 5; }
  int64_t end_of_text() const override { return 4; }
  int64_t begin_of_text() const override { return 4; }
  std::vector<int32_t> encode(std::string_view) const override { return {}; }
  const std::string& piece(int64_t id) const override { return pieces_.at(static_cast<size_t>(id)); }
  const std::string& serialized() const override { return pieces_[4]; }
  std::string display(int64_t id) const override { return id == 4 ? "<|endoftext|>" : piece(id); }

 private:
  std::vector<std::string> pieces_{"a", "\xC3", "\xA9", "a", ""};
};

TokenScore score(double logprob, std::vector<LikelyToken> likely) {
  return {.logprob = logprob, .greedy = false, .likely = std::move(likely)};
}

TEST(TokenNames, AreTextOrBytes) {
  const FewTokens tokenizer;
  EXPECT_EQ(token_name(tokenizer, 0), "a");
  EXPECT_EQ(token_name(tokenizer, 1), "bytes:\\xc3");
  EXPECT_EQ(token_name(tokenizer, 2), "bytes:\\xa9");
  EXPECT_EQ(token_name(tokenizer, 4), "<|endoftext|>");
  EXPECT_EQ(token_name(tokenizer, 9), "token_id:9") << "a row of the model that the tokenizer does not know";
}

TEST(CompletionLogprobs, HoldTheTokenBesideTheMostLikely) {
  const FewTokens tokenizer;
  CompletionLogprobs arrays(tokenizer);
  const double likely = -0.1234567890123456789;
  const auto first = score(likely, {{0, likely}}), second = score(-2.5, {{0, likely}});
  arrays.add(4, "", nullptr);
  arrays.add(0, "a", &first);
  arrays.add(1, "\xC3", &second);
  const auto found = arrays.take();
  EXPECT_EQ(found.at("tokens"), json({"<|endoftext|>", "a", "bytes:\\xc3"}));
  EXPECT_EQ(found.at("token_logprobs"), json({nullptr, likely, -2.5}));
  EXPECT_EQ(found.at("top_logprobs"), json({nullptr, {{"a", likely}}, {{"a", likely}, {"bytes:\\xc3", -2.5}}}));
  // The same number in both places, to the last digit.
  const auto read = json::parse(found.dump());
  EXPECT_EQ(read["token_logprobs"][1].get<double>(), read["top_logprobs"][1]["a"].get<double>());
  EXPECT_EQ(read["token_logprobs"][1].get<double>(), likely);
  EXPECT_TRUE(arrays.take().is_null());
}

TEST(CompletionLogprobs, KeepTokensOfOneNameApart) {
  const FewTokens tokenizer;
  CompletionLogprobs arrays(tokenizer);
  const auto both = score(-2.0, {{0, -1.0}});
  arrays.add(3, "a", &both);
  EXPECT_EQ(arrays.take()["top_logprobs"][0], json({{"a", -1.0}, {"bytes:\\x61", -2.0}}));
}

TEST(CompletionLogprobs, OffsetsCountCodePoints) {
  const FewTokens tokenizer;
  CompletionLogprobs arrays(tokenizer);
  const auto any = score(-1.0, {});
  arrays.add(4, "", nullptr);
  for (const auto* text : {"a", "\xC3", "\xA9", "a", "\xC3", "a", "a"}) {
    arrays.add(0, text, &any);
    arrays.take();
  }
  arrays.add(0, "a", &any);  // behind "aéa", a broken "é" and "aa"
  EXPECT_EQ(arrays.take()["text_offset"], json::array({6}));
  CompletionLogprobs again(tokenizer);
  for (const auto* text : {"a", "\xC3", "\xA9", "a", "", "a"}) again.add(0, text, &any);
  EXPECT_EQ(again.take()["text_offset"], json({0, 1, 1, 2, 3, 3}));
}

TEST(CompletionLogprobs, WriteImpossibleTokensAsNumbers) {
  const FewTokens tokenizer;
  CompletionLogprobs arrays(tokenizer);
  const double never = -std::numeric_limits<double>::infinity();
  const auto impossible = score(never, {{0, 0.0}});
  arrays.add(1, "", &impossible);
  EXPECT_EQ(arrays.take().at("token_logprobs"), json::array({-9999.0}));
}

TEST(ChatLogprobs, ListEveryToken) {
  const FewTokens tokenizer;
  ChatLogprobs arrays(tokenizer);
  EXPECT_TRUE(arrays.take().is_null());
  arrays.add(1, score(-1.0, {{0, -0.5}, {9, -0.75}}));
  const auto found = arrays.take();
  ASSERT_EQ(found.at("content").size(), 1u);
  const auto& entry = found["content"][0];
  EXPECT_EQ(entry.at("token"), "bytes:\\xc3");
  EXPECT_EQ(entry.at("bytes"), json::array({0xC3}));
  EXPECT_EQ(entry.at("top_logprobs").at(0).at("logprob"), -0.5);
  EXPECT_TRUE(entry.at("top_logprobs").at(1).at("bytes").is_null());
  EXPECT_TRUE(found.at("refusal").is_null());
}

TEST(ConceptArrays, CountConceptsBehindThePrompt) {
  ConceptArrays arrays;
  arrays.start(3);
  arrays.add(0.25f, false);
  arrays.add(0.75f, true);
  arrays.add(std::nullopt, false);
  const auto found = arrays.take();
  EXPECT_EQ(found.at("boundary_prob"), json({0.25, 0.75, nullptr}));
  EXPECT_EQ(found.at("boundary"), json({false, true, nullptr}));
  EXPECT_EQ(found.at("concept"), json({2, 3, nullptr}));
  EXPECT_TRUE(arrays.take().is_null());
}

}  // namespace
}  // namespace dlcm
