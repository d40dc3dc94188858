#include "dlcm/eval/task_evaluation.h"

#include "dlcm/infer/score.h"
#include "dlcm/util/error.h"
#include "tests/eval/items.h"
#include "tests/infer/tiny_model.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>

#include <cmath>

namespace dlcm {
namespace {

using nlohmann::json;
using test::items;
using test::message_of;

QuestionScores scores_of(std::vector<double> logprobs) {
  QuestionScores scores;
  for (const double logprob : logprobs) scores.choices.push_back({.logprob = logprob, .greedy = false});
  return scores;
}

Question question_with(std::vector<std::string> choices, size_t answer, std::string subject = "") {
  Question question;
  question.subject = std::move(subject);
  question.choices = std::move(choices);
  question.answer = answer;
  return question;
}

TEST(EncodeContinuation, MovesWhiteSpaceBehindTheContext) {
  const auto tokenizer = load_tokenizer("bytes");
  const auto moved = encode_continuation(*tokenizer, "ab \n", " c", 64, "here");
  EXPECT_EQ(moved.given, 3u);  // <|bos|> a b
  EXPECT_EQ(tokenizer->decode({moved.ids.begin() + 3, moved.ids.end()}), " \n c");
  const auto empty = encode_continuation(*tokenizer, "", " c", 64, "here");
  EXPECT_EQ(empty.given, 1u);
  EXPECT_EQ(empty.ids.front(), tokenizer->begin_of_text());
  const auto blank = encode_continuation(*tokenizer, "\u3000", "c", 64, "here");
  EXPECT_EQ(blank.given, 1u);
  EXPECT_EQ(blank.ids.size(), 5u);
}

TEST(EncodeContinuation, CutsTheContextFromTheLeft) {
  const auto tokenizer = load_tokenizer("bytes");
  const auto whole = encode_continuation(*tokenizer, "abcdefg", "hi", 9, "here");
  EXPECT_EQ(whole.ids.size(), 10u);  // the last one is not read
  EXPECT_EQ(whole.ids.front(), tokenizer->begin_of_text());
  const auto cut = encode_continuation(*tokenizer, "abcdefg", "hi", 4, "here");
  EXPECT_EQ(tokenizer->decode(cut.ids), "efghi");
  EXPECT_EQ(cut.given, 3u);
}

TEST(EncodeContinuation, RefusesWhatCannotBeScored) {
  const auto tokenizer = load_tokenizer("bytes");
  for (const auto& message :
       {message_of<Error>([&] { encode_continuation(*tokenizer, "a", "", 64, "line 4 of x.jsonl"); }),
        message_of<Error>(
            [&] { encode_continuation(*tokenizer, "a", std::string(65, 'b'), 64, "line 4 of x.jsonl"); })}) {
    EXPECT_NE(message.find("line 4 of x.jsonl"), std::string::npos) << message;
  }
  EXPECT_EQ(encode_continuation(*tokenizer, "a", std::string(64, 'b'), 64, "here").given, 1u);
}

TEST(QuestionScores, FirstOfEqualChoicesCounts) {
  EXPECT_EQ(scores_of({-3.0, -1.0, -1.0}).best(), 1u);
  EXPECT_EQ(scores_of({-1.0, -1.0}).best(), 0u);
  // -2 / 2 and -3 / 3: characters, not bytes.
  EXPECT_EQ(scores_of({-2.5, -2.0, -3.0}).best_by_length(question_with({"ab", "éé", "abc"}, 0)), 1u);
}

TEST(TaskResult, ErrorsAreThoseOfTheMean) {
  const auto& piqa = benchmark("piqa");
  std::vector<Question> questions;
  std::vector<QuestionScores> scores;
  for (int i = 0; i < 5; ++i) {
    questions.push_back(question_with({"a", "bb"}, i < 3 ? 0 : 1));  // three are right
    scores.push_back(scores_of({-1.0, -1.5}));                       // by length none but the last two
  }
  const auto result = task_result(piqa, questions, scores);
  EXPECT_EQ(result.total.items, 5);
  EXPECT_DOUBLE_EQ(result.total.acc.mean, 0.6);
  EXPECT_DOUBLE_EQ(*result.total.acc.error, std::sqrt(0.6 * 0.4 * 5 / 4 / 5));
  EXPECT_DOUBLE_EQ(result.total.acc_norm->mean, 0.4);
  EXPECT_TRUE(result.subjects.empty());
}

TEST(TaskResult, SubjectsWeighByTheirItems) {
  std::vector<Question> questions;
  std::vector<QuestionScores> scores;
  for (const auto& [subject, right] : std::vector<std::pair<std::string, bool>>{
           {"anatomy", true}, {"virology", false}, {"anatomy", true}, {"anatomy", false}, {"virology", true}}) {
    questions.push_back(question_with({"A", "B"}, right ? 0 : 1, subject));
    scores.push_back(scores_of({-1.0, -2.0}));
  }
  const auto result = task_result(benchmark("mmlu"), questions, scores);
  ASSERT_EQ(result.subjects.size(), 2u);
  EXPECT_EQ(result.subjects[0].name, "anatomy");
  EXPECT_DOUBLE_EQ(result.total.acc.mean, 0.6);
  // The pooled variance of both subjects, each with n - 1 degrees of freedom.
  const double anatomy = 2.0 / 3.0 * (1.0 / 3.0) * 3.0, virology = 0.25 * 2.0;
  EXPECT_DOUBLE_EQ(*result.total.acc.error, std::sqrt((anatomy + virology) / 3.0 / 5.0));
  ASSERT_EQ(result.categories.size(), 2u);
  EXPECT_EQ(result.categories[0].name, "other");
  EXPECT_EQ(result.categories[1].name, "stem");
  questions.resize(4);
  scores.resize(4);
  EXPECT_FALSE(task_result(benchmark("mmlu"), questions, scores).total.acc.error);  // one subject has one item
}

TEST(TaskResult, LastWordsHavePerplexity) {
  auto right = scores_of({-1.0}), wrong = scores_of({-3.0});
  right.choices[0].greedy = true;
  const auto result =
      task_result(benchmark("lambada"), {question_with({"a"}, 0), question_with({"b"}, 0)}, {right, wrong});
  EXPECT_DOUBLE_EQ(result.total.acc.mean, 0.5);
  EXPECT_FALSE(result.total.acc_norm);
  EXPECT_DOUBLE_EQ(result.total.perplexity->mean, std::exp(2.0));
  EXPECT_DOUBLE_EQ(*result.total.perplexity->error, std::exp(2.0) * 1.0);
}

class EvaluateTask : public testing::Test {
 protected:
  // Long enough for every prompt.
  static test::TinyModel model_of(ModelKind kind) {
    auto config = test::tiny_config(kind);
    config.train.context = 4096;
    config.train.micro_batch_tokens = 4096;
    return test::tiny_model(config);
  }

  // Every prompt alone, by `dlcm score`.
  static void expect_scores_of(const test::TinyModel& model, const json& item) {
    for (size_t choice = 0; choice < item["logprobs"].size(); ++choice) {
      const auto of = [&](const char* name) {
        return item[name][item[name].size() == 1 ? 0 : choice].get<std::string>();
      };
      const auto encoded = encode_continuation(*model.tokenizer, of("contexts"), of("continuations"),
                                               static_cast<size_t>(model.config.train.context), "here");
      const auto document = score_ids(model, {encoded.ids}, 0.5).front();
      double logprob = 0.0;
      for (size_t t = encoded.given; t < encoded.ids.size(); ++t) logprob += document.logprobs[t];
      EXPECT_NEAR(item["logprobs"][choice].get<double>(), logprob, 1e-3) << item["task"] << " " << item["line"];
    }
  }
};

TEST_F(EvaluateTask, EveryPromptIsScoredAsAlone) {
  for (const auto kind : {ModelKind::dlcm, ModelKind::llama}) {
    const auto model = model_of(kind);
    for (const auto& name : benchmark_names()) {
      for (const int64_t shots : {0, 1}) {
        const auto task = read_task(name, {.file = items(name), .shots = shots, .examples_file = {}});
        std::vector<json> logged;
        const auto result =
            evaluate_task(model, task, {.threshold = 0.5}, [&](const auto& item) { logged.push_back(item); });
        EXPECT_EQ(result.total.items, static_cast<int64_t>(task.questions.size()));
        EXPECT_EQ(result.truncated, 0);
        ASSERT_EQ(logged.size(), task.questions.size());
        double right = 0.0;
        for (const auto& item : logged) {
          expect_scores_of(model, item);
          right += item["acc"].get<double>();
        }
        EXPECT_NEAR(result.total.acc.mean, right / static_cast<double>(logged.size()), 1e-12);
      }
    }
  }
}

TEST_F(EvaluateTask, LongPromptsLoseTheirBeginning) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));  // 64 tokens
  const auto task = read_task("ceval", {.file = items("ceval"), .shots = 1, .examples_file = {}});
  std::vector<json> logged;
  const auto result = evaluate_task(model, task, {.threshold = 0.5}, [&](const auto& item) { logged.push_back(item); });
  EXPECT_EQ(result.truncated, 6);
  for (const auto& item : logged) expect_scores_of(model, item);
}

TEST_F(EvaluateTask, JsonHoldsTheFigures) {
  const auto model = model_of(ModelKind::dlcm);
  const auto evaluate_one = [&](const std::string& name) {
    return to_json(evaluate_task(model, read_task(name, {.file = items(name), .examples_file = {}}), {}, {}));
  };
  const auto mmlu = evaluate_one("mmlu");
  EXPECT_EQ(mmlu.at("task"), "mmlu");
  EXPECT_EQ(mmlu.at("file"), items("mmlu"));
  EXPECT_EQ(mmlu.at("items"), 9);
  EXPECT_EQ(mmlu.at("shots"), 0);
  EXPECT_EQ(mmlu.at("subjects").size(), 3u);
  EXPECT_EQ(mmlu.at("subjects")[0].at("subject"), "astronomy");
  EXPECT_EQ(mmlu.at("subjects")[0].at("items"), 3);
  EXPECT_EQ(mmlu.at("categories").size(), 2u);
  EXPECT_EQ(mmlu.at("threshold"), 0.5);
  EXPECT_TRUE(mmlu.at("acc").is_number());
  EXPECT_TRUE(mmlu.at("acc_norm_stderr").is_number());
  EXPECT_TRUE(mmlu.at("perplexity").is_null());
  EXPECT_GT(mmlu.at("items_per_second"), 0.0);
  const auto lambada = evaluate_one("lambada");
  EXPECT_TRUE(lambada.at("acc_norm").is_null());
  EXPECT_TRUE(lambada.at("subjects").is_null());
  EXPECT_GT(lambada.at("perplexity"), 1.0);
}

TEST_F(EvaluateTask, TableHasALinePerTaskAndCategory) {
  const auto model = model_of(ModelKind::llama);
  std::vector<TaskResult> results;
  for (const auto* name : {"mmlu", "lambada"}) {
    results.push_back(evaluate_task(model, read_task(name, {.file = items(name), .examples_file = {}}), {}, {}));
  }
  const auto table = task_table(results);
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 5);  // headings, mmlu, humanities, stem, lambada
  for (const auto* part : {"task ", "mmlu ", "  humanities", "  stem", "lambada", " ± "}) {
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
  }
}

TEST(NamedFile, FileFollowsFromTheFolder) {
  EXPECT_EQ(NamedFile::from("piqa", "items").file, "items/piqa.jsonl");
  EXPECT_EQ(NamedFile::from("piqa=a=b.jsonl", "items").file, "a=b.jsonl");
  EXPECT_EQ(NamedFile::from("piqa=a", "items").name, "piqa");
}

}  // namespace
}  // namespace dlcm
