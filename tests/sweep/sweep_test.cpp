// Sweeps with real trainings of a tiny model: what is repeated, what is not, and what a stop leaves behind.
#include "dlcm/sweep/sweep.h"

#include "dlcm/data/build.h"
#include "dlcm/io/metrics.h"
#include "dlcm/sweep/sweep_page.h"
#include "tests/analysis/synthetic_run.h"
#include "tests/support/process.h"

#include <gtest/gtest.h>

#include <sstream>

namespace dlcm::test {
namespace {

// Words of a few letters, so that training has something to learn.
std::string words(size_t bytes) {
  std::mt19937 random(5);
  std::string text;
  while (text.size() < bytes) {
    text +=
        "the cat sat on a mat and ate " + std::string(1 + random() % 3, static_cast<char>('a' + random() % 26)) + " ";
    if (random() % 40 == 0) text += "\n<|endoftext|>\n";
  }
  return text;
}

class Sweeps : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TemporaryDirectory;
    write_text(*shared_ / "text.txt", words(60000));
    std::istringstream nothing;
    DataBuild build;
    build.tokenizer = "bytes";
    build.inputs = {*shared_ / "text.txt"};
    build.output = *shared_ / "data";
    build.validation_fraction = 0.1;
    build_data(build, nothing);
    const auto config = content_of(fmt::format("{}/configs/tiny.toml", DLCM_SOURCE_DIR));
    write_text(*shared_ / "tiny.toml", config);
  }
  static void TearDownTestSuite() { delete shared_; }

  std::string file(const std::string& text, const std::string& settings = "\"train.steps=12\"") {
    const auto path = directory_ / "sweep.toml";
    write_text(path, fmt::format("base = \"{}\"\nset = [{}, \"eval.every_steps=0\", \"eval.tokens=1024\"]\n{}",
                                 *shared_ / "tiny.toml", settings, text));
    return path;
  }
  SweepResult run(const std::string& text, const std::string& settings = "\"train.steps=12\"") {
    return run_sweep({.spec = load_sweep(file(text, settings)),
                      .data = *shared_ / "data",
                      .output = output_,
                      .program = DLCM_BINARY});
  }

  static TemporaryDirectory* shared_;
  TemporaryDirectory directory_;
  std::string output_ = directory_ / "sweep";
};
TemporaryDirectory* Sweeps::shared_ = nullptr;

constexpr const char* kGrid =
    "[[axis]]\nname = \"rate\"\nmultiply = [\"optimizer.token_rate\"]\nvalues = [1, 4]\n"
    "[[axis]]\nkey = \"train.seed\"\nvalues = [1, 2]\n";

TEST_F(Sweeps, TrainEveryRunOnceAndWriteRows) {
  const auto first = run(kGrid);
  EXPECT_TRUE(first.complete);
  EXPECT_EQ(first.trained, 4);
  ASSERT_EQ(first.rows.size(), 4U);
  ASSERT_TRUE(first.best);
  for (const auto& row : first.rows) {
    EXPECT_EQ(row["status"], "done");
    EXPECT_EQ(row["steps"], 12);
    EXPECT_TRUE(number_of(row, "val_loss"));
    EXPECT_GE(*number_of(row, "val_loss"), *number_of(*first.best, "val_loss"));
    EXPECT_TRUE(number_of(row, "val_ratio"));
    const auto run_path = output_ + "/" + row["run"].get<std::string>();
    EXPECT_EQ(read_metrics(run_path + "/metrics.jsonl").back()["step"], 12);
    const auto data = row["data_hash"].get<std::string>() + row["validation_hash"].get<std::string>();
    EXPECT_EQ(run_key(parse_config(row["config"].get<std::string>(), "row"), data), row["key"]);
    EXPECT_TRUE(row["precision"] == "fp32" || row["precision"] == "bf16") << row["precision"];
    EXPECT_EQ(row["program"].get<std::string>().size(), 32U);
  }
  EXPECT_NE(first.rows[0]["val_loss"], first.rows[1]["val_loss"]);
  const auto csv = content_of(output_ + "/rows.csv");
  EXPECT_TRUE(has(csv, "key,axis rate,axis train.seed,status,"));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 5);

  // Again: nothing to do. With one value more: one run more per seed.
  EXPECT_EQ(run(kGrid).trained, 0);
  const auto more =
      run("[[axis]]\nname = \"rate\"\nmultiply = [\"optimizer.token_rate\"]\nvalues = [1, 4, 2]\n"
          "[[axis]]\nkey = \"train.seed\"\nvalues = [1, 2]\n");
  EXPECT_EQ(more.trained, 2);
  EXPECT_EQ(more.rows.size(), 6U);

  // Another sweep of the same runs gives them names of its own.
  const auto other = run("[[axis]]\nname = \"lot\"\nkeys = [\"train.seed\"]\nlabels = [\"first\"]\nvalues = [[1]]\n");
  EXPECT_EQ(other.trained, 0);
  ASSERT_EQ(other.rows.size(), 1U);
  EXPECT_EQ(other.rows[0]["key"], first.rows[0]["key"]);
  EXPECT_EQ(other.rows[0]["axes"].dump(), R"({"lot":"first"})");
  EXPECT_EQ(other.best->dump(), other.rows[0].dump());

  const auto page = chart_page(sweep_page(RowStore(output_).rows(), "sweep"));
  EXPECT_TRUE(has(page, "6 runs; the least validation loss"));
  EXPECT_TRUE(has(page, "Validation loss"));
}

TEST_F(Sweeps, AnotherValidationTextIsAnotherRun) {
  const auto text = "[[axis]]\nkey = \"train.seed\"\nvalues = [1]\n";
  write_text(directory_ / "other.txt", std::string(3000, 'q') + " and other words");
  std::istringstream nothing;
  DataBuild build;
  build.tokenizer = "bytes";
  build.inputs = {*shared_ / "text.txt"};
  std::vector<double> losses;
  for (const auto& [name, validation] : {std::pair{"a", *shared_ / "text.txt"}, {"b", directory_ / "other.txt"}}) {
    build.output = directory_ / name;
    build.validation = {validation};
    build_data(build, nothing);
    const auto result =
        run_sweep({.spec = load_sweep(file(text)), .data = build.output, .output = output_, .program = DLCM_BINARY});
    EXPECT_EQ(result.trained, 1);
    losses.push_back(*number_of(result.rows.at(0), "val_loss"));
  }
  EXPECT_NE(losses[0], losses[1]);
  EXPECT_EQ(RowStore(output_).rows().size(), 2U);
}

TEST_F(Sweeps, ARunThatCannotTrainDoesNotStopTheOthers) {
  const auto result =
      run("[[axis]]\nname = \"rule\"\nkeys = [\"parser.rule\", \"parser.entropy.model\"]\n"
          "values = [[\"entropy\", \"/nowhere\"], [\"stride\", \"\"], [\"random\", \"\"]]\n");
  EXPECT_FALSE(result.complete);
  EXPECT_EQ(result.rows.size(), 2U);
  EXPECT_TRUE(has(result.problem, "/nowhere")) << result.problem;
  EXPECT_TRUE(has(result.problem, "/log")) << result.problem;
}

TEST_F(Sweeps, RefuseWhatNoRunCouldTellApartBeforeAnythingIsWritten) {
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"[[axis]]\nkey = \"train.threads\"\nvalues = [1, 2]\n", "train.threads"},
           {"objective = \"val_los\"\n[[axis]]\nkey = \"train.seed\"\nvalues = [1]\n", "val_loss"},
           {"[[axis]]\nkey = \"model.vocabulary\"\nvalues = [100]\n", "258 ids"}}) {
    const auto refused = message_of<Error>([&] { run(text); });
    EXPECT_TRUE(has(refused, part)) << refused;
  }
  EXPECT_FALSE(std::filesystem::exists(output_));
}

TEST_F(Sweeps, PagePoolsSeedsAndNothingElse) {
  const auto text = "[[axis]]\nkey = \"train.seed\"\nvalues = [1, 2]\n";
  run(text);
  EXPECT_FALSE(has(chart_page(sweep_page(RowStore(output_).rows(), "sweep")), "the same labels but other settings"));
  run(text, "\"train.steps=14\"");
  EXPECT_TRUE(has(chart_page(sweep_page(RowStore(output_).rows(), "sweep")), "the same labels but other settings"));
}

TEST_F(Sweeps, BudgetOfRunsEndsThemAndTheNextCommandGoesOn) {
  const auto budget = std::string("[budget]\nruns = 1\n") + kGrid;
  const auto first = run(budget);
  EXPECT_FALSE(first.complete);
  EXPECT_EQ(first.rows.size(), 1U);
  EXPECT_EQ(run(budget).rows.size(), 2U);
  EXPECT_TRUE(run(kGrid).complete);
}

TEST_F(Sweeps, DivergedRunIsAFailedRowThatIsNotRepeatedUnlessAsked) {
  const auto text =
      "[[axis]]\nname = \"rate\"\nmultiply = [\"optimizer.token_rate\", \"optimizer.head_rate\"]\nvalues = [1, "
      "60000]\n";
  const auto settings =
      "\"train.steps=40\", \"optimizer.max_skipped_steps=1\", \"optimizer.gradient_clip=1e9\", "
      "\"optimizer.weight_decay=100.0\"";
  const auto result = run(text, settings);
  EXPECT_TRUE(result.complete);
  ASSERT_EQ(result.rows.size(), 2U);
  EXPECT_EQ(result.rows[1]["status"], "failed");
  EXPECT_TRUE(has(result.rows[1]["problem"].get<std::string>(), "not finite"));
  EXPECT_FALSE(number_of(result.rows[1], "train_loss"));
  EXPECT_EQ((*result.best)["axes"]["rate"], "1");
  EXPECT_EQ(run(text, settings).trained, 0);
  const auto again = run_sweep({.spec = load_sweep(file(text, settings)),
                                .data = *shared_ / "data",
                                .output = output_,
                                .program = DLCM_BINARY,
                                .retry_failed = true});
  EXPECT_EQ(again.trained, 1);
}

TEST_F(Sweeps, DescentMovesUntilNothingGains) {
  const auto result =
      run("method = \"descent\"\nobjective = \"train_loss\"\n"
          "[[axis]]\nname = \"rate\"\nmultiply = [\"optimizer.token_rate\", \"optimizer.concept_rate\", "
          "\"optimizer.head_rate\"]\n"
          "values = [0.5, 2]\n[[axis]]\nkey = \"schedule.warmup_steps\"\nvalues = [10, 2]\n",
          "\"train.steps=10\"");
  EXPECT_TRUE(result.complete);
  ASSERT_TRUE(result.best);
  EXPECT_GE(result.rows.size(), 4U);
  // No neighbour of the best is better, and each has a row.
  const auto best = *number_of(*result.best, "train_loss");
  for (const auto& row : result.rows) EXPECT_GE(*number_of(row, "train_loss"), best);
  const double rate = std::stod((*result.best)["axes"]["rate"].get<std::string>());
  const auto warmup = (*result.best)["axes"]["schedule.warmup_steps"].get<std::string>();
  int neighbours = 0;
  for (const auto& row : result.rows) {
    const double other = std::stod(row["axes"]["rate"].get<std::string>());
    neighbours += row["axes"]["schedule.warmup_steps"] == warmup && (other == 2 * rate || other == rate / 2);
    neighbours += row["axes"]["schedule.warmup_steps"] != warmup && other == rate;
  }
  EXPECT_EQ(neighbours, 3);
  EXPECT_EQ(run("method = \"descent\"\nobjective = \"train_loss\"\n"
                "[[axis]]\nname = \"rate\"\nmultiply = [\"optimizer.token_rate\", \"optimizer.concept_rate\", "
                "\"optimizer.head_rate\"]\n"
                "values = [0.5, 2]\n[[axis]]\nkey = \"schedule.warmup_steps\"\nvalues = [10, 2]\n",
                "\"train.steps=10\"")
                .trained,
            0);
}

TEST_F(Sweeps, CheckpointsGoWhereTheyAreNotToBeKept) {
  const auto result = run(std::string("keep_checkpoints = false\n[[axis]]\nkey = \"train.seed\"\nvalues = [1]\n"));
  const auto run_path = output_ + "/" + result.rows[0]["run"].get<std::string>();
  EXPECT_FALSE(std::filesystem::exists(run_path + "/step-00000012"));
  EXPECT_TRUE(std::filesystem::exists(run_path + "/metrics.jsonl"));
}

TEST_F(Sweeps, WrongInputIsRefusedBeforeAnythingIsTrained) {
  EXPECT_THROW(run("[[axis]]\nkey = \"model.token.heads\"\nvalues = [2, 3]\n"), Error);
  EXPECT_THROW(run("[[axis]]\nkey = \"train.seed\"\nvalues = [1]\n", "\"model.vocabulary=100\""), Error);
  EXPECT_FALSE(std::filesystem::exists(output_ + "/runs"));
  EXPECT_THROW(
      run_sweep(
          {.spec = load_sweep(file(kGrid)), .data = directory_ / "nowhere", .output = output_, .program = DLCM_BINARY}),
      Error);
}

// The rows of a sweep that was killed and taken up again are those of one that was left alone.
TEST_F(Sweeps, StoppedOrKilledLoseNothing) {
  const auto settings = "\"train.steps=300\", \"checkpoint.every_steps=20\", \"checkpoint.keep=1\"";
  const auto text = "[[axis]]\nkey = \"train.seed\"\nvalues = [1, 2]\n";
  const auto whole = run(text, settings);
  ASSERT_EQ(whole.rows.size(), 2U);
  for (const int signal : {SIGKILL, SIGINT}) {
    const auto output = directory_ / fmt::format("stopped-{}", signal);
    const std::vector<std::string> command{
        "sweep", file(text, settings), "--data", *shared_ / "data", "--output", output, "--json"};
    const auto metrics = output + "/runs/" + whole.rows[0]["key"].get<std::string>() + "/metrics.jsonl";
    {
      Process first(directory_ / "first", command);
      ASSERT_TRUE(first.wait_for_lines(metrics, 40));
      first.signal(signal);
      EXPECT_EQ(first.wait().status, 128 + signal);
    }
    // What it left ends by itself, after a save.
    const auto stopped_at = [&] { return std::filesystem::exists(metrics) ? read_metrics(metrics).size() : 0; };
    const auto finished = Process(directory_ / "second", command).wait();
    EXPECT_EQ(finished.status, 0) << finished.messages;
    EXPECT_EQ(stopped_at(),
              read_metrics(output_ + "/" + whole.rows[0]["run"].get<std::string>() + "/metrics.jsonl").size());
    const RowStore again(output);
    for (const auto& row : whole.rows) {
      const auto* other = again.find(row["key"].get<std::string>());
      ASSERT_NE(other, nullptr);
      EXPECT_EQ((*other)["val_loss"], row["val_loss"]);
    }
  }
}

TEST(Rows, KeyLeavesOutWhatChangesNoResult) {
  const auto config = synthetic_config({});
  auto same = config;
  same.train.threads = 7;
  same.train.workers = 3;
  same.checkpoint.every_steps = 3;
  same.train.log_every_steps = 9;
  EXPECT_EQ(run_key(config, "data"), run_key(same, "data"));
  EXPECT_NE(run_key(config, "data"), run_key(config, "other data"));
  same.train.seed = 99;
  EXPECT_NE(run_key(config, "data"), run_key(same, "data"));
}

TEST(Rows, AKeyAddedToTheConfigurationLaterLeavesOldRowsValid) {
  TemporaryDirectory directory;
  const auto config = synthetic_config({});
  auto row = make_row({{{"seed", "1"}}, config}, "0123456789abcdef", {"data", ""}, "runs/x", directory.path(), "");
  // As an older program wrote it: one setting that has its default was not there yet, so the key was another one.
  auto toml = row["config"].get<std::string>();
  const auto line = toml.find("min_length = ");
  toml.erase(line, toml.find('\n', line) + 1 - line);
  row["config"] = toml;
  write_text(directory / "rows.jsonl", row.dump() + "\n");
  const RowStore store(directory.path());
  EXPECT_NE(store.find(run_key(config, "data")), nullptr);
}

TEST(Rows, DamagedFileIsNamed) {
  TemporaryDirectory directory;
  write_text(
      directory / "rows.jsonl",
      "{\"key\":\"k\",\"axes\":{},\"status\":\"done\",\"run\":\"r\",\"data_hash\":\"\",\"config\":\"\"}\nno row\n");
  EXPECT_TRUE(has(message_of<Error>([&] { RowStore(directory.path()); }), "rows.jsonl:2"));
}

}  // namespace
}  // namespace dlcm::test
