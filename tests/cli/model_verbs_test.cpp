// The verbs that take a trained model, run as a user runs them: score, eval, generate, segment, export and info
// --model.
#include "tests/infer/tiny_model.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <sys/wait.h>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace dlcm {
namespace {

struct Result {
  int status = -1;
  std::string output;
  std::string messages;  // of standard error

  std::vector<nlohmann::json> objects() const {
    std::vector<nlohmann::json> found;
    std::istringstream lines(output);
    for (std::string line; std::getline(lines, line);) found.push_back(nlohmann::json::parse(line));
    return found;
  }
};

class ModelVerbs : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<test::TemporaryDirectory>();
    auto stride = test::tiny_config(ModelKind::dlcm);
    stride.parser.rule = BoundaryRule::stride;
    for (const auto& [name, config] :
         {std::pair{"dlcm", test::tiny_config(ModelKind::dlcm)},
          std::pair{"llama", test::tiny_config(ModelKind::llama)}, std::pair{"stride", stride}}) {
      save_checkpoint(*directory_ / name, test::checkpoint_of(test::tiny_model(config)), 1);
    }
    test::overwrite(*directory_ / "two.txt", kFirst + "\n<|endoftext|>\n" + kSecond);
    test::overwrite(*directory_ / "empty.txt", "");
  }
  static void TearDownTestSuite() { directory_.reset(); }

  static std::string path(const std::string& name) { return *directory_ / name; }

  // `arguments` as in a shell, run in the directory of the models.
  static Result run(const std::string& arguments, const std::string& input = "") {
    test::overwrite(path("input"), input);
    const auto command =
        fmt::format("cd '{}' && '{}' {} < input 2> messages", directory_->path(), DLCM_BINARY, arguments);
    Result result;
    FILE* pipe = ::popen(command.c_str(), "r");
    std::array<char, 4096> buffer;
    for (size_t count; (count = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
      result.output.append(buffer.data(), count);
    }
    const int status = ::pclose(pipe);
    result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    std::ostringstream messages;
    messages << std::ifstream(path("messages")).rdbuf();
    result.messages = messages.str();
    return result;
  }

  static void expect_refused(const std::string& arguments, const std::string& reason, const std::string& input = "") {
    const auto result = run(arguments, input);
    EXPECT_EQ(result.status, 2) << arguments;
    EXPECT_NE(result.messages.find(reason), std::string::npos) << arguments << ": " << result.messages;
  }

  static inline const std::string kPiqa =
      "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 0}\n"
      "{\"goal\": \"h\", \"sol1\": \"c\", \"sol2\": \"d\", \"label\": 1}\n";
  static inline const std::string kFirst = "It was the best of times,";
  static inline const std::string kSecond = "it was <the> worst of \xC3\xA9poques.\n";
  static inline std::unique_ptr<test::TemporaryDirectory> directory_;
};

TEST_F(ModelVerbs, ScoreAnswersEveryLine) {
  const auto result = run("score --model dlcm --jsonl", "\"ab\"\n\"\"\n\"c\\u00e9\"\n");
  ASSERT_EQ(result.status, 0) << result.messages;
  const auto objects = result.objects();
  ASSERT_EQ(objects.size(), 3u);
  EXPECT_EQ(objects[0].at("ids"), (nlohmann::json{257, 97, 98}));
  EXPECT_TRUE(objects[1].at("bits_per_byte").is_null());
  EXPECT_EQ(objects[2].at("bytes"), 3);
}

TEST_F(ModelVerbs, ScoreTakesIdsAsTheyAre) {
  const auto result = run("score --model dlcm --jsonl", "\"ab\"\n[257,97,98]\n[97,98]\n");
  ASSERT_EQ(result.status, 0) << result.messages;
  const auto objects = result.objects();
  ASSERT_EQ(objects.size(), 3u);
  EXPECT_EQ(objects[0], objects[1]);
  EXPECT_EQ(objects[2].at("ids"), (nlohmann::json{97, 98}));
  EXPECT_TRUE(objects[2].at("greedy")[0].is_null());
  EXPECT_TRUE(objects[2].at("greedy")[1].is_boolean());
  for (const std::string bad : {"[]", "[258]", "[-1]", "[\"a\"]", "3", "{"}) {
    expect_refused("score --model dlcm --jsonl", "line 2 of standard input", "\"ab\"\n" + bad + "\n");
  }
}

TEST_F(ModelVerbs, ScoreReadsTheDocumentsOfAFile) {
  const auto from_file = run("score --model dlcm --text two.txt --jsonl");
  const auto from_lines =
      run("score --model dlcm --jsonl", nlohmann::json(kFirst).dump() + "\n" + nlohmann::json(kSecond).dump() + "\n");
  ASSERT_EQ(from_file.status, 0) << from_file.messages;
  EXPECT_EQ(from_file.output, from_lines.output);
}

TEST_F(ModelVerbs, ThresholdAndRatioMoveTheBoundaries) {
  const auto concepts = [](const std::string& options) {
    const auto result = run("score --model dlcm --text two.txt --jsonl " + options);
    int64_t count = 0;
    for (const auto& object : result.objects()) {
      for (const bool boundary : object.at("boundary")) count += boundary;
    }
    return count;
  };
  EXPECT_LT(concepts("--threshold 0.9"), concepts("--threshold 0.1"));
  EXPECT_EQ(concepts("--ratio 4"), concepts("--threshold 0.75"));  // the stored quantiles are those of a uniform p
}

TEST_F(ModelVerbs, EvalAgreesWithScore) {
  const auto evaluated = run("eval --model dlcm --text two.txt two.txt --json");
  ASSERT_EQ(evaluated.status, 0) << evaluated.messages;
  const auto objects = evaluated.objects();
  ASSERT_EQ(objects.size(), 3u);
  double nll = 0.0, bytes = 0.0;
  for (const auto& object : run("score --model dlcm --text two.txt --jsonl").objects()) {
    nll += object.at("nll").get<double>();
    bytes += object.at("bytes").get<double>();
  }
  EXPECT_EQ(objects[0].at("file"), "two.txt");
  EXPECT_EQ(objects[0].at("bytes"), bytes);
  EXPECT_NEAR(objects[0].at("bits_per_byte").get<double>(), nll / std::log(2.0) / bytes, 1e-3);
  EXPECT_EQ(objects[2].at("file"), "total");
  EXPECT_EQ(objects[2].at("documents"), 4);
  const auto table = run("eval --model llama --text two.txt");
  EXPECT_EQ(table.status, 0) << table.messages;
  EXPECT_NE(table.output.find("bits/byte"), std::string::npos) << table.output;
}

TEST_F(ModelVerbs, EvalAnswersBenchmarks) {
  test::overwrite(path("piqa.jsonl"), kPiqa);
  test::overwrite(path("examples.jsonl"), kPiqa + kPiqa);
  const auto result = run("eval --model dlcm --tasks piqa,lambada=words.jsonl --json --item-log items.log");
  EXPECT_EQ(result.status, 2);  // there is no words.jsonl, and nothing was written
  EXPECT_NE(result.messages.find("words.jsonl"), std::string::npos) << result.messages;
  EXPECT_FALSE(std::ifstream(path("items.log")).good());

  test::overwrite(path("words.jsonl"), "{\"text\": \"a last word\"}\n");
  const auto both = run("eval --model dlcm --tasks piqa,lambada=words.jsonl --json --item-log items.log");
  ASSERT_EQ(both.status, 0) << both.messages;
  const auto objects = both.objects();
  ASSERT_EQ(objects.size(), 2u);
  EXPECT_EQ(objects[0].at("task"), "piqa");
  EXPECT_EQ(objects[0].at("file"), "./piqa.jsonl");
  EXPECT_EQ(objects[0].at("items"), 2);
  EXPECT_EQ(objects[1].at("task"), "lambada");
  std::ifstream log(path("items.log"));
  std::vector<nlohmann::json> logged;
  for (std::string line; std::getline(log, line);) logged.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(logged.size(), 3u);
  EXPECT_EQ(logged[1].at("line"), 2);
  EXPECT_EQ(logged[1].at("contexts"), (nlohmann::json{"Question: h\nAnswer:"}));
  EXPECT_EQ(logged[1].at("continuations"), (nlohmann::json{" c", " d"}));
  EXPECT_EQ(logged[2].at("continuations"), (nlohmann::json{" word"}));

  const auto few =
      run("eval --model dlcm --tasks piqa --items . --shots 1 --shots-from piqa=examples.jsonl "
          "--batch-tokens 10 --item-log items.log");
  ASSERT_EQ(few.status, 0) << few.messages;
  EXPECT_NE(few.output.find("acc %"), std::string::npos) << few.output;
  std::ifstream few_log(path("items.log"));
  std::string line;
  std::getline(few_log, line);
  EXPECT_EQ(nlohmann::json::parse(line).at("contexts")[0], "Question: h\nAnswer: d\n\nQuestion: g\nAnswer:");
}

TEST_F(ModelVerbs, EvalRefusesWrongTasks) {
  test::overwrite(path("piqa.jsonl"), kPiqa);
  test::overwrite(path("bad.jsonl"), kPiqa + "{\"goal\": 1}\n");
  expect_refused("eval --model dlcm", "--text or --tasks");
  expect_refused("eval --model dlcm --tasks pika", "did you mean \"piqa\"");
  expect_refused("eval --model dlcm --tasks piqa=bad.jsonl", "line 3 of bad.jsonl");
  expect_refused("eval --model dlcm --tasks piqa --items nowhere", "nowhere/piqa.jsonl");
  expect_refused("eval --model dlcm --tasks piqa --shots 2", "--shots 2");
  expect_refused("eval --model dlcm --tasks piqa --shots -1", "--shots");
  expect_refused("eval --model dlcm --tasks piqa --shots 1 --shots-from mmlu=bad.jsonl", "mmlu");
  expect_refused("eval --model dlcm --tasks piqa --text two.txt", "--tasks");
  expect_refused("eval --model dlcm --text two.txt --shots 1", "--tasks");
}

TEST_F(ModelVerbs, GenerateStreamsWhatJsonHolds) {
  const std::string arguments =
      "generate --model dlcm --prompt 'Once upon' --max-tokens 30 --seed 5 --temperature 0.9 "
      "--top-k 50 --top-p 0.95 --min-p 0.001 ";
  const auto json = run(arguments + "--json");
  ASSERT_EQ(json.status, 0) << json.messages;
  const auto object = json.objects().at(0);
  EXPECT_EQ(object.at("prompt_tokens"), 10);
  EXPECT_LE(object.at("completion_tokens"), 30);
  EXPECT_EQ(object.at("ids").size(), object.at("completion_tokens"));
  const auto text = run(arguments);
  ASSERT_EQ(text.status, 0) << text.messages;
  std::string expected = "Once upon";
  for (const int id : object.at("ids")) expected += static_cast<char>(id);
  EXPECT_EQ(text.output, expected + "\n");
}

TEST_F(ModelVerbs, SegmentMarksConceptsPlainlyWithoutATerminal) {
  const auto result = run("segment --model stride two.txt");
  ASSERT_EQ(result.status, 0) << result.messages;
  // Every 3.3 tokens, <|bos|> included.
  EXPECT_EQ(result.output.rfind("It |was| th|", 0), 0u) << result.output;
  EXPECT_EQ(result.output.find('\x1b'), std::string::npos);
  EXPECT_NE(result.messages.find("tokens per concept"), std::string::npos) << result.messages;
}

TEST_F(ModelVerbs, SegmentWritesAPage) {
  const auto result = run("segment --model dlcm two.txt --html page.html --ratio 3");
  ASSERT_EQ(result.status, 0) << result.messages;
  EXPECT_EQ(result.output, "");
  std::ostringstream page;
  page << std::ifstream(path("page.html")).rdbuf();
  EXPECT_EQ(page.str().rfind("<!DOCTYPE html>", 0), 0u);
  EXPECT_EQ(page.str().find("<the>"), std::string::npos);
}

TEST_F(ModelVerbs, InfoDescribesACheckpoint) {
  const auto result = run("info --model dlcm --json");
  ASSERT_EQ(result.status, 0) << result.messages;
  const auto object = result.objects().at(0);
  EXPECT_EQ(object.at("name"), "dlcm/step-00000007");
  EXPECT_EQ(object.at("step"), 7);
  EXPECT_EQ(object.at("tokens"), 1234);
  EXPECT_EQ(object.at("threshold"), 0.5);
  EXPECT_TRUE(run("info --model llama --json").objects().at(0).at("threshold").is_null());
  EXPECT_NE(run("info --model dlcm").output.find("step 7, 1234 tokens"), std::string::npos);
}

TEST_F(ModelVerbs, WrongInputIsStatusTwoAndASentence) {
  expect_refused("segment --model llama two.txt", "has no concepts");
  expect_refused("score --model missing --jsonl", "missing");
  expect_refused("score --model dlcm --jsonl --threshold 2", "--threshold from 0 to 1");
  expect_refused("score --model dlcm --jsonl --threshold 0.5 --ratio 4", "--ratio");
  expect_refused("score --model dlcm --jsonl", "line 2 of standard input", "\"good\"\nbad\n");
  expect_refused("score --model dlcm --text empty.txt --jsonl", "empty.txt");
  expect_refused("eval --model dlcm --text empty.txt", "empty.txt");
  expect_refused("eval --model dlcm --text nowhere.txt", "nowhere.txt");
  expect_refused("eval --model llama --text two.txt --ratio 4", "llama");
  expect_refused("eval --model stride --text two.txt --threshold 0.4", "stride");
  expect_refused("segment --model dlcm empty.txt", "empty.txt");
  expect_refused("generate --model dlcm --prompt a --temperature -1", "temperature");
  expect_refused("generate --model dlcm --prompt a --top-p nan", "top-p");
  expect_refused("generate --model dlcm --prompt a --max-tokens 0", "at least 1 token");
  expect_refused("info --model dlcm --set train.steps=3", "--config");
}

TEST_F(ModelVerbs, ExportGivesAFileThatEveryVerbTakes) {
  const auto exported = run("export --model dlcm --output same.dlcm --text two.txt --json");
  ASSERT_EQ(exported.status, 0) << exported.messages;
  const auto object = exported.objects().at(0);
  EXPECT_EQ(object.at("weights"), "float32");
  EXPECT_EQ(object.at("cost").at("relative_loss"), 0.0);
  EXPECT_EQ(object.at("cost").at("flipped_boundaries"), 0);
  for (const std::string verb : {"score --text two.txt --jsonl", "eval --text two.txt --json", "segment two.txt",
                                 "generate --prompt It --max-tokens 20", "score --ratio 2 --text two.txt --jsonl"}) {
    const auto from_file = run(verb + " --model same.dlcm"), from_run = run(verb + " --model dlcm");
    EXPECT_EQ(from_file.status, 0) << verb << from_file.messages;
    EXPECT_EQ(from_file.output, from_run.output) << verb;
  }
  EXPECT_EQ(run("info --model same.dlcm --json").objects().at(0).at("step"), 7);
}

TEST_F(ModelVerbs, ExportRoundsWeights) {
  for (const std::string format : {"int4", "int8", "bfloat16"}) {
    for (const std::string model : {"dlcm", "llama", "stride"}) {
      const auto output = model + "-" + format;
      const auto exported =
          run(fmt::format("export --model {} --quantize {} --output {} --text two.txt --json", model, format, output));
      ASSERT_EQ(exported.status, 0) << exported.messages;
      const auto object = exported.objects().at(0);
      EXPECT_EQ(object.at("weights"), format);
      EXPECT_NE(object.at("cost").at("relative_loss"), 0.0);
      EXPECT_GT(object.at("bytes"), object.at("weight_bytes"));
    }
  }
  const auto unrounded =
      run("export --model dlcm --quantize float32 --output all --text two.txt --json").objects().at(0);
  EXPECT_EQ(unrounded.at("weights"), "float32");
  EXPECT_EQ(unrounded.at("cost").at("relative_loss"), 0.0);
  EXPECT_NE(run("export --model dlcm --quantize int8 --output some.dlcm --text two.txt").output.find("bits per byte"),
            std::string::npos);
}

TEST_F(ModelVerbs, ExportOfRandomWeightsNeedsNoTraining) {
  test::overwrite(path("shape.toml"), to_toml(test::tiny_config(ModelKind::dlcm)));
  const auto command = "export --config shape.toml --random-weights 3 --set model.vocabulary=300 --output ";
  ASSERT_EQ(run(std::string(command) + "random.dlcm").status, 0);
  ASSERT_EQ(run(std::string(command) + "again.dlcm").status, 0);
  const auto generated = run("generate --model random.dlcm --prompt It --max-tokens 5 --seed 1 --json");
  EXPECT_EQ(generated.status, 0) << generated.messages;
  EXPECT_EQ(run("score --model random.dlcm --text two.txt --jsonl").output,
            run("score --model again.dlcm --text two.txt --jsonl").output);
  expect_refused("score --model random.dlcm --ratio 4 --text two.txt --jsonl", "--ratio needs the quantiles");
  expect_refused("export --config shape.toml --random-weights 3 --set model.vocabulary=100 --output x", "258 ids");
}

TEST_F(ModelVerbs, ExportRefusesWhatItCannotDo) {
  expect_refused("export --model dlcm --quantize int3 --output x",
                 "expected one of float32, bfloat16, int8, int4, found int3");
  expect_refused("export --output x", "");
  expect_refused("export --config shape.toml --output x", "--random-weights");
  expect_refused("export --model missing --output x", "missing");
  expect_refused("export --model two.txt --output x", "two.txt");
  expect_refused("eval --model two.txt --text two.txt", "two.txt");
}

TEST_F(ModelVerbs, EvalPrintsQualityAgainstRatio) {
  const auto result = run("eval --model dlcm --text two.txt --ratios 2,4 --json");
  ASSERT_EQ(result.status, 0) << result.messages;
  const auto objects = result.objects();
  ASSERT_EQ(objects.size(), 3u);
  EXPECT_TRUE(objects[0].at("wanted_ratio").is_null());
  EXPECT_EQ(objects[1].at("wanted_ratio"), 2.0);
  EXPECT_EQ(objects[2].at("threshold"), 0.75);
  EXPECT_NE(run("eval --model dlcm --text two.txt --ratios 2,4").output.find("stored"), std::string::npos);
  expect_refused("eval --model dlcm --text two.txt --ratios 0.5", "--ratio");
  expect_refused("eval --model llama --text two.txt --ratios 2", "llama");
  expect_refused("eval --model dlcm --text two.txt --ratios 2 --ratio 3", "--ratio");
}

}  // namespace
}  // namespace dlcm
