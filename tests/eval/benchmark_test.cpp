// Prompts of the items in tests/eval/items, which were written for this project in the fields of the published records.
#include "dlcm/eval/benchmark.h"

#include "dlcm/eval/few_shot.h"
#include "dlcm/io/files.h"
#include "dlcm/util/error.h"
#include "tests/eval/items.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

namespace dlcm {
namespace {

using nlohmann::json;
using test::items;
using test::message_of;

Question question_of(const std::string& task, const json& record) {
  return benchmark(task).question(Record(record, task + ".jsonl", 7));
}

// What lm-evaluation-harness asked for the same items (bench/peers/lm_eval_twin.py --prompts).
TEST(Benchmark, PromptsAreThoseOfTheHarness) {
  std::ifstream stream(std::string(DLCM_SOURCE_DIR) + "/tests/eval/harness_prompts.jsonl");
  size_t compared = 0;
  for (std::string line; std::getline(stream, line); ++compared) {
    const auto expected = json::parse(line);
    const std::string task = expected.at("task");
    const auto questions = read_questions(benchmark(task), items(task));
    std::optional<ExamplePool> pool;
    if (expected.at("shots_from_file")) pool = {questions, items(task)};
    const auto beginnings = prompt_beginnings(benchmark(task), questions, expected.at("shots"), pool);
    auto asked = json::array();
    for (size_t i = 0; i < questions.size(); ++i) {
      auto pairs = json::array();
      for (size_t choice = 0; choice < questions[i].choices.size(); ++choice) {
        pairs.push_back({beginnings[i] + questions[i].context(choice), questions[i].continuation(choice)});
      }
      asked.push_back(pairs);
    }
    EXPECT_EQ(asked, expected.at("prompts")) << task << ", " << expected.at("shots") << " shots";
  }
  EXPECT_EQ(compared, 3 * benchmark_names().size());
}

TEST(Benchmark, EveryOneHasItems) {
  for (const auto& name : benchmark_names()) EXPECT_GE(read_questions(benchmark(name), items(name)).size(), 4u) << name;
}

TEST(Benchmark, AnswersAreFoundInEveryPublishedForm) {
  const json arc{
      {"question", "q"}, {"choices", {{"text", {"a", "b", "c"}}, {"label", {"1", "2", "3"}}}}, {"answerKey", "3"}};
  EXPECT_EQ(question_of("arc_easy", arc).answer, 2u);
  json mmlu{{"question", "q"}, {"choices", {"a", "b", "c", "d"}}, {"answer", 3}, {"subject", "anatomy"}};
  EXPECT_EQ(question_of("mmlu", mmlu).answer, 3u);
  mmlu["answer"] = "B";
  EXPECT_EQ(question_of("mmlu", mmlu).answer, 1u);
  json boolq{{"question", "q"}, {"passage", "p"}, {"label", true}};
  EXPECT_EQ(question_of("boolq", boolq).answer, 1u);
  boolq["label"] = 0;
  EXPECT_EQ(question_of("boolq", boolq).answer, 0u);
  json hellaswag{{"activity_label", "l"}, {"ctx_a", "a"}, {"ctx_b", "b"}, {"endings", {"x", "y"}}, {"label", "1"}};
  EXPECT_EQ(question_of("hellaswag", hellaswag).answer, 1u);
  hellaswag["label"] = 0;
  EXPECT_EQ(question_of("hellaswag", hellaswag).answer, 0u);
}

TEST(Benchmark, UnknownNamesNameTheNearest) {
  const auto message = message_of<Error>([] { benchmark("helaswag"); });
  EXPECT_NE(message.find("did you mean \"hellaswag\""), std::string::npos) << message;
}

struct BadRecord {
  std::string task, name, record, expected;
};

class BadRecords : public testing::TestWithParam<BadRecord> {};

TEST_P(BadRecords, AreRefusedByFieldLineAndFile) {
  const auto& bad = GetParam();
  const test::TemporaryDirectory directory;
  test::overwrite(directory / "items.jsonl", "\n" + bad.record + "\n");
  const auto message = message_of<Error>([&] { read_questions(benchmark(bad.task), directory / "items.jsonl"); });
  EXPECT_NE(message.find(bad.expected), std::string::npos) << message;
  EXPECT_NE(message.find("line 2 of " + (directory / "items.jsonl")), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Benchmarks, BadRecords,
    testing::Values(
        BadRecord{"piqa", "no_json", "{\"goal\": ", "no valid JSON"},
        BadRecord{"piqa", "an_array", "[1, 2]", "found array"},
        BadRecord{"piqa", "invalid_utf8", "{\"goal\": \"\xFF\"}", "no valid JSON"},
        BadRecord{"piqa", "lone_surrogate", R"({"goal": "\ud800", "sol1": "a", "sol2": "b", "label": 0})",
                  "no valid JSON"},
        BadRecord{"piqa", "missing_field", R"({"goal": "g", "sol1": "a", "label": 0})", "\"sol2\""},
        BadRecord{"piqa", "number_for_text", R"({"goal": 3, "sol1": "a", "sol2": "b", "label": 0})",
                  "a string as \"goal\""},
        BadRecord{"piqa", "label_out_of_range", R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 2})",
                  "from 0 to 1"},
        BadRecord{"piqa", "label_negative", R"({"goal": "g", "sol1": "a", "sol2": "b", "label": -1})", "from 0 to 1"},
        BadRecord{"piqa", "label_text", R"({"goal": "g", "sol1": "a", "sol2": "b", "label": "1"})", "from 0 to 1"},
        BadRecord{"piqa", "label_fraction", R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 0.5})", "from 0 to 1"},
        BadRecord{"commonsense_qa", "four_choices",
                  R"({"question": "q", "choices": {"text": ["a", "b", "c", "d"]}, "answerKey": "A"})", "5 strings"},
        BadRecord{"commonsense_qa", "no_such_answer",
                  R"({"question": "q", "choices": {"text": ["a", "b", "c", "d", "e"]}, "answerKey": "F"})",
                  "A, B, C, D, E"},
        BadRecord{"hellaswag", "hidden_label",
                  R"({"activity_label": "l", "ctx_a": "a", "ctx_b": "b", "endings": ["x", "y"], "label": ""})",
                  "one of 0, 1"},
        BadRecord{"hellaswag", "no_endings",
                  R"({"activity_label": "l", "ctx_a": "a", "ctx_b": "b", "endings": [], "label": "0"})", "\"endings\""},
        BadRecord{"winogrande", "no_gap", R"({"sentence": "s", "option1": "a", "option2": "b", "answer": "1"})",
                  "\"_\""},
        BadRecord{"winogrande", "answer_number", R"({"sentence": "a _", "option1": "a", "option2": "b", "answer": 1})",
                  "1, 2"},
        BadRecord{"openbookqa", "labels_missing",
                  R"({"question_stem": "q", "choices": {"text": ["a", "b"]}, "answerKey": "A"})", "\"choices.label\""},
        BadRecord{"openbookqa", "choices_a_string", R"({"question_stem": "q", "choices": "ab", "answerKey": "A"})",
                  "\"choices.text\""},
        BadRecord{"arc_easy", "fewer_labels",
                  R"({"question": "q", "choices": {"text": ["a", "b"], "label": ["A"]}, "answerKey": "A"})",
                  "2 strings"},
        BadRecord{"arc_challenge", "answer_not_a_label",
                  R"({"question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "1"})",
                  "A, B"},
        BadRecord{"mmlu", "unknown_subject",
                  R"({"question": "q", "choices": ["a", "b", "c", "d"], "answer": 0, "subject": "alchemy"})",
                  "alchemy"},
        BadRecord{"mmlu", "number_among_choices",
                  R"({"question": "q", "choices": ["a", "b", 3, "d"], "answer": 0, "subject": "anatomy"})",
                  "4 strings"},
        BadRecord{"boolq", "label_text", R"({"question": "q", "passage": "p", "label": "yes"})", "from 0 to 1"},
        BadRecord{"race", "problems_an_array", R"({"article": "a", "problems": []})", "a string as \"problems\""},
        BadRecord{"race", "problems_no_literal", R"({"article": "a", "problems": "[{'question': 1}]"})",
                  "\"problems\""},
        BadRecord{"race", "problems_empty", R"({"article": "a", "problems": "[]"})", "a list of problems"},
        BadRecord{"race", "three_options",
                  R"({"article": "a", "problems": "[{'question': 'q', 'answer': 'A', 'options': ['a', 'b', 'c']}]"})",
                  "4 strings"},
        BadRecord{"race", "answer_missing",
                  R"({"article": "a", "problems": "[{'question': 'q', 'options': ['a', 'b', 'c', 'd']}]"})",
                  "\"answer\""},
        BadRecord{"ceval", "unknown_subject",
                  R"({"question": "q", "A": "a", "B": "b", "C": "c", "D": "d", "answer": "A", "subject": "anatomy"})",
                  "anatomy"},
        BadRecord{"cmmlu", "fields_of_ceval",
                  R"({"question": "q", "A": "a", "B": "b", "C": "c", "D": "d", "answer": "A", "subject": "anatomy"})",
                  "found none"},
        BadRecord{"lambada", "no_text", R"({"words": "a b"})", "\"text\""}),
    [](const auto& case_of) { return case_of.param.task + "_" + case_of.param.name; });

TEST(Benchmark, FilesWithoutItemsAreErrors) {
  const test::TemporaryDirectory directory;
  test::overwrite(directory / "empty.jsonl", "");
  test::overwrite(directory / "blank.jsonl", "\n  \r\n\t\n");
  std::filesystem::create_directory(directory / "folder.jsonl");
  for (const auto* name : {"missing.jsonl", "empty.jsonl", "blank.jsonl", "folder.jsonl"}) {
    const auto message = message_of<Error>([&] { read_questions(benchmark("piqa"), directory / name); });
    EXPECT_NE(message.find(directory / name), std::string::npos) << message;
  }
}

TEST(Benchmark, LinesMayEndInCarriageReturns) {
  const test::TemporaryDirectory directory;
  const std::string item = R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 1})";
  test::overwrite(directory / "items.jsonl", item + "\r\n\r\n" + item);
  const auto questions = read_questions(benchmark("piqa"), directory / "items.jsonl");
  ASSERT_EQ(questions.size(), 2u);
  EXPECT_EQ(questions[1].line, 3);
}

// Bytes changed, cut out and doubled at random: every file is read, or refused by name.
TEST(Benchmark, MutatedFilesAreReadOrRefused) {
  const test::TemporaryDirectory directory;
  const auto path = directory / "mutated.jsonl";
  std::mt19937 random(3);
  int refused = 0;
  for (const auto& name : benchmark_names()) {
    const auto original = read_file(items(name));
    for (int round = 0; round < 150; ++round) {
      auto text = original;
      for (int change = 0; change < 3; ++change) {
        const size_t place = random() % text.size();
        switch (random() % 4) {
          case 0:
            text[place] = static_cast<char>(random());
            break;
          case 1:
            text[place] = "\"'\\[]{}:,_ \n"[random() % 13];
            break;
          case 2:
            text.erase(place, 1 + random() % 40);
            break;
          default:
            text.insert(place, text.substr(random() % text.size(), random() % 40));
        }
      }
      test::overwrite(path, text);
      try {
        for (const auto& question : read_questions(benchmark(name), path)) {
          EXPECT_LT(question.answer, question.choices.size());
          EXPECT_TRUE(question.contexts.size() == 1 || question.contexts.size() == question.choices.size());
        }
      } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(FewShot, TooFewExamplesAreAnError) {
  const auto questions = read_questions(benchmark("piqa"), items("piqa"));
  EXPECT_EQ(prompt_beginnings(benchmark("piqa"), questions, 3, std::nullopt).size(), 4u);
  const auto message = message_of<Error>([&] { prompt_beginnings(benchmark("piqa"), questions, 4, std::nullopt); });
  EXPECT_NE(message.find("--shots 4"), std::string::npos) << message;
  const auto mmlu = read_questions(benchmark("mmlu"), items("mmlu"));
  const ExamplePool astronomy{{mmlu[0], mmlu[2]}, "dev.jsonl"};
  const auto of_subject = message_of<Error>([&] { prompt_beginnings(benchmark("mmlu"), mmlu, 1, astronomy); });
  EXPECT_NE(of_subject.find("elementary_mathematics in dev.jsonl"), std::string::npos) << of_subject;
}

TEST(FewShot, QuestionsAreNoExamplesOfThemselves) {
  for (const auto& name : benchmark_names()) {
    const auto questions = read_questions(benchmark(name), items(name));
    const auto beginnings = prompt_beginnings(benchmark(name), questions, 2, std::nullopt);
    for (size_t i = 0; i < questions.size(); ++i) {
      EXPECT_EQ(beginnings[i].find(questions[i].example), std::string::npos) << name << " " << i;
    }
  }
}

}  // namespace
}  // namespace dlcm
