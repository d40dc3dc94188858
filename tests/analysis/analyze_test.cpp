// What analyze reads, compares and writes.
#include "dlcm/analysis/analyze.h"
#include "tests/analysis/synthetic_run.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>

namespace dlcm::test {
namespace {

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
