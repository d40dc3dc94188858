// What analyze counts, against counts by hand, and what it writes.
#include "dlcm/analysis/analyze.h"
#include "tests/analysis/synthetic_run.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <numbers>

namespace dlcm::test {
namespace {

TEST(TextPlace, NamesWhereATokenBegins) {
  const auto name = [](std::string_view before, std::string_view token) {
    return kTextPlaces[static_cast<size_t>(place_in_text(before, token))];
  };
  EXPECT_EQ(name("", "The"), "line start");
  EXPECT_EQ(name("a\n", "  x"), "line start");
  EXPECT_EQ(name("a", "\n"), "white space");
  EXPECT_EQ(name("a", " cat"), "white space");
  EXPECT_EQ(name("a", "\u3000"), "white space");
  EXPECT_EQ(name("a", "."), "punctuation");
  EXPECT_EQ(name("a", "。"), "punctuation");
  EXPECT_EQ(name("a", "，"), "punctuation");
  EXPECT_EQ(name("a", "7th"), "digit");
  EXPECT_EQ(name("a", "世界"), "Chinese character");
  EXPECT_EQ(name("un", "til"), "word-internal");
  EXPECT_EQ(name("caf", "é"), "word-internal");
  EXPECT_EQ(name("é", "s"), "word-internal");
  EXPECT_EQ(name("(", "word"), "word start");
  EXPECT_EQ(name("3", "rd"), "word start");
  EXPECT_EQ(name("世", "a"), "word start");
  EXPECT_EQ(name("\xe4", "\xb8\x96"), "inside a character");
}

// Concepts "<|bos|> a b", "c d e", "f": p 1, 0.9, 0.7 at their openings.
ScoredDocument example_document() {
  ScoredDocument document;
  document.ids = {257, 'a', 'b', 'c', 'd', 'e', 'f'};
  document.pieces = {"", "a", "b", "c", "d", "e", "f"};
  document.logprobs = {0, -1, -2, -3, -4, -5, -6};
  document.boundary_prob = {1, 0.1, 0.2, 0.9, 0.3, 0.4, 0.7};
  document.boundary = {true, false, false, true, false, false, true};
  document.nll = 21;
  document.bytes = 6;
  return document;
}

TEST(ConceptStatistics, CountsAsByHand) {
  const auto document = example_document();
  auto baseline = document;
  baseline.boundary.clear();
  for (auto& logprob : baseline.logprobs) logprob *= 0.5;
  const auto statistics = statistics_of(document, &baseline, 64);
  EXPECT_EQ(statistics.tokens, 7);
  EXPECT_EQ(statistics.concepts, 3);
  EXPECT_DOUBLE_EQ(statistics.bits_per_byte(), 21 / std::numbers::ln2 / 6);
  // Place 0: c and f; place 1: a and d; place 2: b and e. <|bos|> is not predicted.
  EXPECT_EQ(statistics.by_place[0].tokens, 2);
  EXPECT_DOUBLE_EQ(statistics.by_place[0].loss, 9);
  EXPECT_DOUBLE_EQ(statistics.by_place[0].baseline_loss, 4.5);
  EXPECT_DOUBLE_EQ(statistics.by_place[1].loss, 5);
  EXPECT_DOUBLE_EQ(statistics.by_place[2].loss, 7);
  EXPECT_EQ(statistics.by_place[3].tokens, 0);
  EXPECT_TRUE(std::isnan(statistics.by_place[0].standard_error()));
  const auto free = statistics.free_tokens();
  EXPECT_EQ(free.tokens, 6);  // without <|bos|>
  EXPECT_EQ(free.boundaries, 2);
  EXPECT_EQ(statistics.scores[45], 1);                                                        // 0.9
  EXPECT_EQ(statistics.scores[5], 1);                                                         // 0.1
  EXPECT_EQ(statistics.by_text_place[static_cast<size_t>(TextPlace::line_start)].tokens, 1);  // a
  EXPECT_EQ(statistics.by_text_place[static_cast<size_t>(TextPlace::word_internal)].boundaries, 2);
}

TEST(ConceptStatistics, ForcedFirstTokensOfPiecesAreNoChoiceOfTheParser) {
  auto document = example_document();
  document.boundary_prob[4] = 1.0;
  document.boundary[4] = true;
  const auto statistics = statistics_of(document, nullptr, 4);  // pieces begin at 0 and 4
  EXPECT_EQ(statistics.concepts, 4);
  EXPECT_EQ(statistics.free_tokens().tokens, 5);
  EXPECT_EQ(statistics.free_tokens().boundaries, 2);
}

TEST(ConceptStatistics, LongConceptsEndInOneRow) {
  ScoredDocument document;
  for (int t = 0; t < 60; ++t) {
    document.ids.push_back('a');
    document.pieces.emplace_back("a");
    document.logprobs.push_back(-1.0);
    document.boundary_prob.push_back(t == 0 ? 1.0 : 0.0);
    document.boundary.push_back(t == 0);
  }
  const auto statistics = statistics_of(document, nullptr, 64);
  EXPECT_EQ(statistics.by_place[kConceptPlaces].tokens, 60 - static_cast<int64_t>(kConceptPlaces));
}

// Against the spread of the estimate over many draws of the documents.
TEST(PlaceLoss, StandardErrorIsTheSpreadOverDocuments) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  const auto draw = [&] {
    PlaceLoss sum;
    for (int document = 0; document < 40; ++document) {
      const auto count = static_cast<double>(5 + random() % 40);
      const double difference = count * (0.1 + 0.05 * normal(random)) + std::sqrt(count) * 0.3 * normal(random);
      sum.add({.tokens = static_cast<int64_t>(count),
               .loss = difference,
               .baseline_loss = 0.0,
               .counts_squared = count * count,
               .counts_by_difference = count * difference,
               .differences_squared = difference * difference,
               .documents = 1});
    }
    return sum;
  };
  std::vector<double> values;
  double mean_error = 0.0, mean = 0.0, squares = 0.0;
  constexpr int kDraws = 2000;
  for (int i = 0; i < kDraws; ++i) {
    const auto sum = draw();
    values.push_back(sum.difference());
    mean += sum.difference() / kDraws;
    mean_error += sum.standard_error() / kDraws;
  }
  for (const double value : values) squares += (value - mean) * (value - mean) / kDraws;
  EXPECT_NEAR(mean_error / std::sqrt(squares), 1.0, 0.06);
}

TEST(Agreement, IsOneForTheSameAndZeroByChance) {
  const auto document = example_document();
  Agreement same;
  same.add(document, document, 64);
  EXPECT_EQ(same.shared(), 1.0);
  EXPECT_DOUBLE_EQ(same.kappa(), 1.0);
  EXPECT_EQ(same.tokens, 6);
  std::mt19937_64 random(4);
  ScoredDocument one, other;
  for (int t = 0; t < 200000; ++t) {
    one.ids.push_back(1);
    other.ids.push_back(1);
    one.boundary.push_back(random() % 4 == 0);
    other.boundary.push_back(random() % 8 == 0);
  }
  Agreement chance;
  chance.add(one, other, 1 << 20);
  EXPECT_NEAR(chance.kappa(), 0.0, 0.01);
  EXPECT_NEAR(chance.shared(), 0.25, 0.01);
  EXPECT_NEAR(chance.chance(), 0.25, 0.01);
}

class Analyses : public testing::Test {
 protected:
  Analyses() {
    write_synthetic_run(directory_ / "small", {.config = "tiny", .steps = 20, .eval_every_steps = 10});
    write_synthetic_run(directory_ / "plain", {.config = "tiny-llama", .steps = 20, .eval_every_steps = 10});
    std::string prose, code;
    for (int i = 0; i < 12; ++i) {
      prose +=
          fmt::format("It was a bright day, number {}, and the clocks were striking.\nThirteen!\n<|endoftext|>\n", i);
      code += fmt::format("for (int i = 0; i < {}; ++i) {{\n  sum += values[i];\n}}\n<|endoftext|>\n", i);
    }
    write_text(directory_ / "prose.txt", prose);
    write_text(directory_ / "code.txt", code);
    request_.model = directory_ / "small";
    request_.baseline = directory_ / "plain";
    request_.texts = {{"prose", directory_ / "prose.txt"}, {"co,de", directory_ / "code.txt"}};
  }
  TemporaryDirectory directory_;
  AnalysisRequest request_;
};

TEST_F(Analyses, CountEveryTokenOnceAndAddUp) {
  request_.others = {request_.model + "/step-00000020"};
  const auto analysis = analyse(request_);
  ASSERT_EQ(analysis.models.size(), 2U);
  const auto& model = analysis.models.front();
  EXPECT_EQ(model.by_text[0].tokens + model.by_text[1].tokens, model.all.tokens);
  int64_t predicted = 0;
  for (const auto& place : model.all.by_place) predicted += place.tokens;
  EXPECT_EQ(predicted, model.all.tokens - 24);            // <|bos|> of 24 documents
  EXPECT_EQ(analysis.models[1].agreement->kappa(), 1.0);  // the same model
  ASSERT_TRUE(analysis.run);
  EXPECT_EQ(analysis.run->training.size(), 20U);

  const auto tables = analysis_tables(analysis);
  ASSERT_EQ(tables.size(), 6U);
  EXPECT_TRUE(has(tables[0].second.csv(), "\n\"co,de\","));
  EXPECT_EQ(tables[0].second.rows(), 6U);
  const auto page = chart_page(analysis_page(analysis));
  for (const char* part : {"Tokens per concept by content", "Against the baseline", "Where concepts begin", "Agreement",
                           "over training"}) {
    EXPECT_TRUE(has(page, part));
  }
  EXPECT_EQ(to_json(analysis)["models"][0]["texts"]["co,de"]["tokens"], model.by_text[1].tokens);
}

TEST_F(Analyses, WithoutBaselineSayNothingOfOne) {
  request_.baseline.reset();
  const auto analysis = analyse(request_);
  EXPECT_FALSE(has(chart_page(analysis_page(analysis)), "Against the baseline"));
  EXPECT_EQ(analysis_tables(analysis).size(), 5U);
}

TEST_F(Analyses, ReadNoMoreTokensThanAskedFor) {
  const auto whole = analyse(request_).models.front().by_text[0].tokens;
  request_.most_tokens = 100;
  const auto part = analyse(request_).models.front().by_text[0].tokens;
  EXPECT_GE(part, 100);
  EXPECT_LT(part, 200);
  EXPECT_GT(whole, 600);
}

TEST_F(Analyses, ModelsThatCannotBeComparedAreRefused) {
  auto swapped = request_;
  std::swap(swapped.model, *swapped.baseline);
  EXPECT_TRUE(has(message_of<Error>([&] { analyse(swapped); }), "llama model"));
  auto empty = request_;
  write_text(directory_ / "empty.txt", "");
  empty.texts = {{"empty", directory_ / "empty.txt"}};
  EXPECT_TRUE(has(message_of<Error>([&] { analyse(empty); }), "expected text"));
  for (const char* argument : {"name", "=file", "name="}) EXPECT_THROW(named_text(argument), Error) << argument;
  EXPECT_EQ(named_text("a=b=c").path, "b=c");
}

}  // namespace
}  // namespace dlcm::test
