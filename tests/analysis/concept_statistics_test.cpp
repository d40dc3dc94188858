// What analyze counts of documents, against counts by hand, and what its page says of such counts.
#include "dlcm/analysis/concept_statistics.h"

#include "dlcm/analysis/analyze.h"
#include "tests/analysis/synthetic_run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>

namespace dlcm::test {
namespace {

TEST(TextPlace, NamesWhereATokenBegins) {
  const auto name = [](const std::string& before, const std::string& token) {
    return kTextPlaces[static_cast<size_t>(place_in_text(before + token, before.size()))];
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

// Byte-fallback makes a token of every byte of a rare character.
TEST(TextPlace, FirstByteOfASplitCharacterIsTheCharacterItBegins) {
  const auto names = [](const std::string& text) {
    std::vector<std::string_view> places;
    for (size_t begin = 1; begin < text.size(); ++begin) {
      places.push_back(kTextPlaces[static_cast<size_t>(place_in_text(text, begin))]);
    }
    return places;
  };
  const std::string_view inside = "inside a character";
  EXPECT_EQ(names("a世"), (std::vector<std::string_view>{"Chinese character", inside, inside}));
  EXPECT_EQ(names("a“"), (std::vector<std::string_view>{"punctuation", inside, inside}));
  EXPECT_EQ(names("a７"), (std::vector<std::string_view>{"digit", inside, inside}));
  EXPECT_EQ(names("aé"), (std::vector<std::string_view>{"word-internal", inside}));
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
  // Place 0: c and f; place 1: d; place 2: e. The concept of <|bos|>, a and b is opened by rule.
  EXPECT_EQ(statistics.by_place[0].tokens, 2);
  EXPECT_DOUBLE_EQ(statistics.by_place[0].loss, 9);
  EXPECT_DOUBLE_EQ(statistics.by_place[0].baseline_loss, 4.5);
  EXPECT_EQ(statistics.by_place[1].tokens, 1);
  EXPECT_DOUBLE_EQ(statistics.by_place[1].loss, 4);
  EXPECT_EQ(statistics.by_place[2].tokens, 1);
  EXPECT_DOUBLE_EQ(statistics.by_place[2].loss, 5);
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
  EXPECT_EQ(statistics.by_place[0].tokens, 2);  // c and f, not d
  EXPECT_EQ(statistics.by_place[1].tokens, 0);  // e is in the concept of d
}

TEST(ConceptStatistics, SplitCharactersCountAsTheyAre) {
  ScoredDocument document;
  document.ids = {257, 'a', 0xe4, 0xb8, 0x96};
  document.pieces = {"", "a", "\xe4", "\xb8", "\x96"};
  document.logprobs = {0, -1, -1, -1, -1};
  document.boundary_prob = {1, 0, 0.9, 0, 0};
  document.boundary = {true, false, true, false, false};
  const auto places = statistics_of(document, nullptr, 64).by_text_place;
  EXPECT_EQ(places[static_cast<size_t>(TextPlace::chinese)].boundaries, 1);
  EXPECT_EQ(places[static_cast<size_t>(TextPlace::inside_character)].tokens, 2);
  EXPECT_EQ(places[static_cast<size_t>(TextPlace::word_internal)].tokens, 0);
}

TEST(ConceptStatistics, LongConceptsEndInOneRow) {
  ScoredDocument document;
  for (int t = 0; t < 60; ++t) {
    document.ids.push_back('a');
    document.pieces.emplace_back("a");
    document.logprobs.push_back(-1.0);
    document.boundary.push_back(t == 0 || t == 5);
    document.boundary_prob.push_back(document.boundary.back() ? 1.0 : 0.0);
  }
  const auto statistics = statistics_of(document, nullptr, 64);
  for (size_t place = 0; place < kConceptPlaces; ++place) EXPECT_EQ(statistics.by_place[place].tokens, 1) << place;
  EXPECT_EQ(statistics.by_place[kConceptPlaces].tokens, 55 - static_cast<int64_t>(kConceptPlaces));
}

// One document's tokens at a place, their losses apart from the baseline's by `difference` in sum.
PlaceLoss loss_of_document(double count, double difference) {
  return {.tokens = static_cast<int64_t>(count),
          .loss = difference,
          .baseline_loss = 0.0,
          .counts_squared = count * count,
          .counts_by_difference = count * difference,
          .differences_squared = difference * difference,
          .documents = 1};
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
      sum.add(loss_of_document(count, difference));
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

TEST(PlaceLoss, IntervalsHoldTheTruthOfFewDocumentsToo) {
  std::mt19937_64 random(5);
  std::normal_distribution<double> normal;
  const auto draw = [&](int documents) {
    PlaceLoss sum;
    for (int document = 0; document < documents; ++document) sum.add(loss_of_document(10.0, normal(random)));
    return sum;
  };
  EXPECT_TRUE(std::isnan(draw(2).half_width()));
  constexpr int kDraws = 4000;
  for (const int documents : {3, 4, 10, 40}) {
    int held = 0;
    for (int i = 0; i < kDraws; ++i) {
      const auto sum = draw(documents);
      held += std::abs(sum.difference()) <= sum.half_width() ? 1 : 0;
    }
    EXPECT_NEAR(static_cast<double>(held) / kDraws, 0.95, 0.012) << documents;
  }
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

TEST(AnalysisPage, SaysWhereTheModelIsBetterAndHowOftenThatIsChance) {
  Analysis analysis;
  analysis.texts = {{"prose", "prose.txt"}};
  analysis.baseline = "plain";
  auto& model = analysis.models.emplace_back();
  model.by_text.resize(1);
  model.all.tokens = model.all.concepts = 1;
  const auto verdict = [&](const std::vector<std::vector<double>>& differences_by_place) {
    model.all.by_place = {};
    for (size_t place = 0; place < differences_by_place.size(); ++place) {
      for (const double difference : differences_by_place[place]) {
        model.all.by_place[place].add(loss_of_document(20.0, difference));
      }
    }
    return analysis_page(analysis).verdicts.at(1);
  };
  // The second is 2.3 standard errors above zero, which four documents do not tell from chance.
  const std::vector<std::vector<double>> differences{{-2.0, -2.1, -1.9, -2.0}, {0.0, 1.0, 2.0, 3.0}};
  EXPECT_TRUE(has(verdict(differences), "better at place 0 of its concepts and worse at no place ("));
  EXPECT_TRUE(has(verdict(differences), "of 2 places about 0 would differ by chance."));
  EXPECT_TRUE(has(verdict(std::vector<std::vector<double>>(21, {1.0, 1.1, 0.9})),
                  "better at no place of its concepts and worse at places 0, 1, 2, 3,"));
  EXPECT_TRUE(has(verdict(std::vector<std::vector<double>>(21, {1.0, 1.1, 0.9})), "of 21 places about 1 would"));
  EXPECT_TRUE(has(verdict({{-2.0, -2.1}}), "cannot tell: 2 documents"));
  const auto csv = analysis_tables(analysis)[1].second.csv();
  EXPECT_TRUE(has(csv, "text,place,tokens,documents,loss,baseline_loss,difference,standard_error,half_width\n"));
  EXPECT_TRUE(has(csv, "\nall,0,40,2,-0.1025,0,-0.1025,"));
  EXPECT_TRUE(csv.ends_with(",\n"));  // no interval of two documents
}

}  // namespace
}  // namespace dlcm::test
