#include "dlcm/eval/text_evaluation.h"

#include "dlcm/infer/continuations.h"
#include "dlcm/infer/score.h"
#include "dlcm/util/error.h"
#include "tests/infer/tiny_model.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>
#include <sstream>

namespace dlcm {
namespace {

using test::message_of;

const std::string kFirst = "It was the best of times, it was the worst of times.";
const std::string kSecond = std::string(150, 'z') + " and a document longer than the context\n";

class EvalText : public testing::Test {
 protected:
  EvalText() : model_(test::tiny_model(test::tiny_config(ModelKind::dlcm))) {
    test::overwrite(directory_ / "two.txt", kFirst + "\n<|endoftext|>\n" + kSecond);
    test::overwrite(directory_ / "bytes.txt", "any \xFF\xFE bytes \x80");
  }

  test::TemporaryDirectory directory_;
  test::TinyModel model_;
};

// The second document is longer than the context: its last window reaches back into the one before.
TEST_F(EvalText, IsTheSumOfItsRollingWindows) {
  const auto result = evaluate_text(model_, directory_ / "two.txt", 0.6);
  std::vector<Continuation> windows;
  int64_t tokens = 0;
  for (const auto& text : {kFirst, kSecond}) {
    const auto ids = document_ids(*model_.tokenizer, text);
    const auto predicted = static_cast<int64_t>(ids.size()) - 1, context = model_.config.train.context;
    tokens += predicted + 1;
    for (int64_t first = 0; first < predicted; first += context) {
      const int64_t end = std::min(predicted, first + context), begin = first == 0 ? 0 : end - context;
      windows.push_back(
          {.ids = {ids.begin() + begin, ids.begin() + end + 1}, .given = static_cast<size_t>(first + 1 - begin)});
    }
  }
  EXPECT_EQ(windows.size(), 4u);
  double nll = 0.0;
  for (const auto& window : score_continuations(model_, windows, {.threshold = 0.6})) nll -= window.logprob;
  EXPECT_NEAR(result.evaluation.nll, nll, 1e-3);
  EXPECT_EQ(result.evaluation.tokens, tokens);
  EXPECT_EQ(result.evaluation.bytes, static_cast<int64_t>(kFirst.size() + kSecond.size()));
  EXPECT_EQ(result.evaluation.documents.size(), 2u);
}

TEST_F(EvalText, TotalIsOverAllFiles) {
  const auto two = evaluate_text(model_, directory_ / "two.txt", 0.5);
  const auto bytes = evaluate_text(model_, directory_ / "bytes.txt", 0.5);
  const auto total = total_of({two, bytes});
  EXPECT_EQ(total.name, "total");
  EXPECT_EQ(total.evaluation.targets, two.evaluation.targets + bytes.evaluation.targets);
  EXPECT_NEAR(total.evaluation.nll, two.evaluation.nll + bytes.evaluation.nll, 1e-9);
}

TEST_F(EvalText, JsonLinesAndFoldersAreRead) {
  std::filesystem::create_directory(directory_ / "folder");
  test::overwrite(directory_ / "folder/a.jsonl", nlohmann::json{{"text", kFirst}}.dump() + "\n");
  test::overwrite(directory_ / "folder/b.txt", kSecond);
  const auto folder = evaluate_text(model_, directory_ / "folder", 0.5);
  const auto file = evaluate_text(model_, directory_ / "two.txt", 0.5);
  EXPECT_EQ(folder.evaluation.bytes, file.evaluation.bytes);
  EXPECT_NEAR(folder.evaluation.nll, file.evaluation.nll, 1e-3);
}

TEST_F(EvalText, PathsWithoutTextAreErrors) {
  test::overwrite(directory_ / "empty.txt", "");
  std::filesystem::create_directory(directory_ / "nothing");
  for (const auto* name : {"missing.txt", "empty.txt", "nothing"}) {
    const auto message = message_of<Error>([&] { evaluate_text(model_, directory_ / name, 0.5); });
    EXPECT_NE(message.find(name), std::string::npos) << message;
  }
}

TEST_F(EvalText, JsonHoldsTheNumbers) {
  const auto result = evaluate_text(model_, directory_ / "two.txt", 0.5);
  const auto object = nlohmann::json::parse(to_json(result).dump());
  EXPECT_EQ(object.at("file"), directory_ / "two.txt");
  EXPECT_EQ(object.at("loss"), result.evaluation.loss());
  EXPECT_NEAR(object.at("perplexity").get<double>(), std::exp(result.evaluation.loss()), 1e-9);
  EXPECT_EQ(object.at("bits_per_byte"), result.evaluation.bits_per_byte());
  EXPECT_EQ(object.at("tokens"), result.evaluation.targets);
  EXPECT_EQ(object.at("bytes"), result.evaluation.bytes);
  EXPECT_EQ(object.at("documents"), 2);
  EXPECT_EQ(object.at("ratio"), *result.evaluation.ratio());
  EXPECT_EQ(object.at("ratio_half"), *result.evaluation.ratio_half());
  // The only document of at least 64 tokens.
  const auto& document = result.evaluation.documents.back();
  const double ratio = static_cast<double>(document.tokens) / static_cast<double>(document.concepts);
  for (const auto* name : {"ratio_p10", "ratio_p50", "ratio_p90"}) EXPECT_EQ(object.at(name), ratio);
  EXPECT_EQ(object.at("threshold"), 0.5);
}

TEST_F(EvalText, ModelWithoutConceptsHasNoRatio) {
  const auto llama = test::tiny_model(test::tiny_config(ModelKind::llama));
  const auto result = evaluate_text(llama, directory_ / "two.txt", 0.5);
  const auto object = to_json(result);
  for (const auto* name : {"ratio", "ratio_half", "ratio_p10", "ratio_p50", "ratio_p90", "threshold"}) {
    EXPECT_TRUE(object.at(name).is_null()) << name;
  }
  EXPECT_NE(evaluation_table({result}).find(" - "), std::string::npos);
}

TEST_F(EvalText, TableHasALinePerFile) {
  const auto two = evaluate_text(model_, directory_ / "two.txt", 0.5);
  std::istringstream table(evaluation_table({two, total_of({two})}));
  std::vector<std::string> lines;
  for (std::string line; std::getline(table, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].rfind("file ", 0), 0u) << lines[0];
  EXPECT_EQ(lines[1].rfind(directory_ / "two.txt", 0), 0u) << lines[1];
  EXPECT_EQ(lines[2].rfind("total ", 0), 0u) << lines[2];
  EXPECT_NE(lines[1].find(fmt::format("{:.4f}", two.evaluation.bits_per_byte())), std::string::npos) << lines[1];
  EXPECT_EQ(lines[0].size(), lines[1].size());
}

}  // namespace
}  // namespace dlcm
