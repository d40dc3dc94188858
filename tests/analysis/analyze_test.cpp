// What analyze counts, against counts by hand, and what it writes.
#include "dlcm/analysis/analyze.h"
#include "tests/analysis/synthetic_run.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>
#include <numbers>

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

class Analyses : public testing::Test {
 protected:
  Analyses() {
    write_synthetic_run(directory_ / "small", {.config = "tiny", .steps = 20, .eval_every_steps = 10});
    write_synthetic_run(directory_ / "plain", {.config = "tiny-llama", .steps = 20, .eval_every_steps = 10});
    std::string prose, code;
    for (int i = 0; i < 12; ++i) {
      documents_.push_back(fmt::format("It was a bright day, number {}, and the clocks were striking.\nThirteen!", i));
      prose += documents_.back() + "\n<|endoftext|>\n";
    }
    for (int i = 0; i < 12; ++i) {
      documents_.push_back(fmt::format("for (int i = 0; i < {}; ++i) {{\n  sum += values[i];\n}}", i));
      code += documents_.back() + "\n<|endoftext|>\n";
    }
    write_text(directory_ / "prose.txt", prose);
    write_text(directory_ / "code.txt", code);
    request_.model = directory_ / "small";
    request_.baseline = directory_ / "plain";
    request_.texts = {{"prose", directory_ / "prose.txt"}, {"co,de", directory_ / "code.txt"}};
  }
  // The same model under another name.
  std::string copy_of_model(const std::string& name) {
    std::filesystem::create_directories(std::filesystem::path(directory_ / name).parent_path());
    std::filesystem::copy(request_.model, directory_ / name, std::filesystem::copy_options::recursive);
    return directory_ / name;
  }
  std::string refusal(const AnalysisRequest& request) {
    return message_of<Error>([&] { analyse(request); });
  }

  TemporaryDirectory directory_;
  std::vector<std::string> documents_;  // of both texts
  AnalysisRequest request_;
};

TEST_F(Analyses, CountEveryTokenOnceAndAddUp) {
  request_.others = {copy_of_model("again")};
  const auto analysis = analyse(request_);
  ASSERT_EQ(analysis.models.size(), 2U);
  const auto& model = analysis.models.front();
  EXPECT_EQ(model.by_text[0].tokens + model.by_text[1].tokens, model.all.tokens);
  // Of the tokens those from the first boundary of a piece on that no rule places.
  Engine engine(load_engine_model(request_.model));
  const auto context = static_cast<size_t>(engine.model().config.train.context);
  int64_t chosen = 0, placed = 0;
  for (const auto& document : score(engine, documents_, engine.model().threshold())) {
    bool in_chosen = false;
    for (size_t t = 0; t < document.ids.size(); ++t) {
      in_chosen = t % context != 0 && (in_chosen || document.boundary[t]);
      chosen += in_chosen ? 1 : 0;
    }
  }
  for (const auto& place : model.all.by_place) placed += place.tokens;
  EXPECT_EQ(placed, chosen);
  EXPECT_LT(placed, model.all.tokens - 24);  // <|bos|> of 24 documents
  EXPECT_EQ(model.all.by_place[0].tokens, model.all.free_tokens().boundaries);
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

TEST_F(Analyses, ReadNoMoreTokensThanAskedForOfLongDocumentsToo) {
  EXPECT_GT(analyse(request_).models.front().by_text[0].tokens, 600);
  request_.most_tokens = 100;
  write_text(directory_ / "long.txt", std::string(3000, 'a'));
  request_.texts.push_back({"long", directory_ / "long.txt"});
  const auto model = analyse(request_).models.front();
  EXPECT_EQ(model.by_text[0].tokens, 100);
  EXPECT_EQ(model.by_text[0].bytes, 98);  // two documents' <|bos|> are no text
  EXPECT_EQ(model.by_text[2].tokens, 100);
  EXPECT_EQ(model.by_text[2].bytes, 99);
}

TEST_F(Analyses, TextsApartAreShownAndNotCounted) {
  request_.others = {copy_of_model("again")};
  request_.texts[1].apart = true;
  const auto analysis = analyse(request_);
  for (const auto& model : analysis.models) {
    EXPECT_GT(model.by_text[1].tokens, 0);
    EXPECT_EQ(model.all.tokens, model.by_text[0].tokens);
    EXPECT_EQ(model.all.by_place[0].tokens, model.by_text[0].by_place[0].tokens);
  }
  EXPECT_EQ(analysis.models[1].agreement->tokens, analysis.models[0].by_text[0].free_tokens().tokens);
  EXPECT_EQ(analysis_tables(analysis)[0].second.rows(), 6U);
  const auto page = analysis_page(analysis);
  EXPECT_TRUE(has(chart_page(page), "Not counted in all: co,de."));
  EXPECT_FALSE(has(page.verdicts.front(), " from "));
  EXPECT_EQ(to_json(analysis)["models"][0]["texts"]["co,de"]["apart"], true);
}

TEST_F(Analyses, NameShortestAndLongestWhereThereAreSeveralTexts) {
  EXPECT_TRUE(has(analysis_page(analyse(request_)).verdicts.front(), " from "));
  request_.texts.pop_back();
  EXPECT_FALSE(has(analysis_page(analyse(request_)).verdicts.front(), " from "));
}

TEST_F(Analyses, SayWhichThresholdWasUsed) {
  request_.others = {copy_of_model("again")};
  request_.threshold.threshold = 0.45;
  auto analysis = analyse(request_);
  const auto csv = analysis_tables(analysis)[0].second.csv();
  EXPECT_TRUE(has(csv, "text,model,target,threshold,tokens,"));
  EXPECT_TRUE(has(csv, "all,small,4,0.45,"));
  EXPECT_TRUE(has(csv, "all,again,4,0.5,"));  // its own
  EXPECT_TRUE(has(analysis_page(analysis).verdicts.front(), "tokens (target 4; threshold 0.450), from"));
  analysis.asked_ratio = 5.5;
  EXPECT_TRUE(has(analysis_page(analysis).verdicts.front(), "; asked for 5.5 tokens per concept), from"));
}

TEST_F(Analyses, WithoutAChosenBoundaryShowDashesAndNoNumbers) {
  request_.others = {copy_of_model("again")};
  request_.threshold.threshold = 1.0;
  const auto analysis = analyse(request_);
  EXPECT_EQ(analysis.models.front().all.free_tokens().boundaries, 0);
  std::string shown = analysis_text(analysis);
  for (const auto& verdict : analysis_page(analysis).verdicts) shown += verdict;
  for (const auto& [name, table] : analysis_tables(analysis)) shown += table.html(name);
  EXPECT_FALSE(has(shown, "nan"));
  EXPECT_TRUE(has(shown, "<td>–</td>"));
  EXPECT_TRUE(has(shown, "cannot tell: 0 documents"));
}

TEST_F(Analyses, OfRulesWithoutScoresShowNone) {
  auto config = synthetic_config({});
  config.parser.rule = BoundaryRule::stride;
  Checkpoint checkpoint;
  checkpoint.step = 1;
  checkpoint.model = save_parameters(*make_model(config));
  checkpoint.config_toml = to_toml(config);
  checkpoint.tokenizer = "bytes";
  save_checkpoint(directory_ / "stride", checkpoint, /*keep=*/1);
  const auto names_of_tables = [](const Analysis& analysis) {
    std::vector<std::string> names;
    for (const auto& [name, table] : analysis_tables(analysis)) names.push_back(name);
    return names;
  };
  request_.model = directory_ / "stride";
  const auto alone = analyse(request_);
  EXPECT_EQ(names_of_tables(alone),
            (std::vector<std::string>{"tokens_per_concept", "loss_by_place", "boundary_places"}));
  EXPECT_FALSE(has(chart_page(analysis_page(alone)), "Boundary scores"));
  EXPECT_TRUE(to_json(alone)["models"][0]["threshold"].is_null());
  request_.others = {directory_ / "small"};
  const auto both = analyse(request_);
  EXPECT_FALSE(has(analysis_tables(both)[2].second.csv(), ",stride,"));
  EXPECT_TRUE(has(chart_page(analysis_page(both)), "Boundary scores"));
}

TEST_F(Analyses, TakeTheTrainingOfTheRunThatTheyAreOf) {
  EXPECT_TRUE(analyse(request_).run);
  request_.model = directory_ / "small/step-00000020";
  EXPECT_TRUE(analyse(request_).run);
  request_.model = copy_of_model("small/best");  // which is none of the run's checkpoints
  EXPECT_FALSE(analyse(request_).run);
  request_.model = directory_ / "small";
  for (const char* metrics : {"", "{\"step\":1}\nnonsense\n{\"step\":2}\n"}) {
    write_text(directory_ / "small/metrics.jsonl", metrics);
    const auto analysis = analyse(request_);
    EXPECT_FALSE(analysis.run);
    EXPECT_TRUE(has(chart_page(analysis_page(analysis)), "Not shown: "));
  }
}

TEST_F(Analyses, FitATerminal) {
  auto analysis = analyse(request_);
  analysis.models.front().name = std::string(70, 'm');
  analysis.texts.front().name = "一二三四五六七八九十一二三四五六七八九十";
  analysis.models.front().all.tokens = 7 * request_.most_tokens;
  const auto text = analysis_text(analysis);
  EXPECT_TRUE(has(text, "\n…十一二三四五六七八九十 "));
  size_t characters = 0;
  for (const char c : text) {
    characters = c == '\n' ? 0 : characters + ((static_cast<unsigned char>(c) & 0xC0u) == 0x80u ? 0 : 1);
    EXPECT_LE(characters, 80U);
  }
}

TEST_F(Analyses, NamesAndModelsAreGivenOnce) {
  auto request = request_;
  request.texts[1].name = "prose";
  EXPECT_TRUE(has(refusal(request), "\"prose\" is given to two texts"));
  request.texts[1].name = "all";
  EXPECT_TRUE(has(refusal(request), "which stands for all texts together"));
  request = request_;
  for (auto& text : request.texts) text.path = "-";
  EXPECT_TRUE(has(refusal(request), "standard input"));
  request = request_;
  for (const auto& other : {request_.model, request_.model + "/step-00000020"}) {
    request.others = {other};
    EXPECT_TRUE(has(refusal(request), "are the same model"));
  }
  request.others = std::vector<std::string>(2, copy_of_model("again"));
  EXPECT_TRUE(has(refusal(request), "are the same model"));
  request = request_;
  request.baseline = copy_of_model("elsewhere/small");  // a model with concepts will do
  const auto analysis = analyse(request);
  EXPECT_NE(*analysis.baseline, analysis.models.front().name);
}

TEST_F(Analyses, OpenAllTextsBeforeAnythingElse) {
  request_.model = directory_ / "nowhere";
  request_.texts[1].path = directory_ / "missing.txt";
  EXPECT_TRUE(has(refusal(request_), "missing.txt"));
  write_text(directory_ / "missing.txt", "<|endoftext|>\n");
  EXPECT_TRUE(has(refusal(request_), "expected text in"));
}

TEST_F(Analyses, AreWrittenWholeAndAlone) {
  auto request = request_;
  request.others = {copy_of_model("again")};
  const auto exists = [&](const std::string& name) { return std::filesystem::exists(directory_ / name); };
  write_text(directory_ / "out/own.csv", "own");
  AnalysisOutput output(directory_ / "out");
  const auto with_other = analyse(request);
  EXPECT_EQ(output.write(with_other), kAnalysisTables.size());
  for (const auto name : kAnalysisTables) EXPECT_TRUE(exists(fmt::format("out/{}.csv", name))) << name;
  EXPECT_TRUE(exists("out/index.html"));
  EXPECT_EQ(output.write(analyse(request_)), kAnalysisTables.size() - 1);
  EXPECT_FALSE(exists("out/agreement.csv"));
  EXPECT_TRUE(exists("out/tokens_per_concept.csv"));
  EXPECT_TRUE(exists("out/own.csv"));
}

TEST(AnalysisOutput, IsADirectoryOrRefused) {
  const TemporaryDirectory directory;
  write_text(directory / "file", "text");
  for (const std::string& path :
       {std::string(), directory / "file", directory / "file/below", std::string("/proc/x")}) {
    EXPECT_TRUE(has(message_of<Error>([&] { AnalysisOutput output(path); }), "expected a directory as --output"))
        << path;
  }
  {
    const AnalysisOutput unused(directory / "a/b/");
    EXPECT_TRUE(std::filesystem::is_directory(directory / "a/b"));
  }
  EXPECT_FALSE(std::filesystem::exists(directory / "a"));
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

TEST_F(Analyses, ModelsThatCannotBeComparedAreRefused) {
  auto swapped = request_;
  std::swap(swapped.model, *swapped.baseline);
  EXPECT_TRUE(has(refusal(swapped), "llama model"));
  auto empty = request_;
  write_text(directory_ / "empty.txt", "");
  empty.texts = {{"empty", directory_ / "empty.txt"}};
  EXPECT_TRUE(has(refusal(empty), "expected text"));
  for (const char* argument : {"name", "=file", "name="}) {
    EXPECT_TRUE(has(message_of<Error>([&] { named_text(argument, "--apart"); }), "--apart expects NAME=FILE"));
  }
  EXPECT_EQ(named_text("a=b=c", "--text").path, "b=c");
}

}  // namespace
}  // namespace dlcm::test
