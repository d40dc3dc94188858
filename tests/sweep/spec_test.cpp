// What a sweep's file means, and what is said of a wrong one.
#include "dlcm/sweep/spec.h"
#include "tests/analysis/synthetic_run.h"

#include <gtest/gtest.h>

namespace dlcm::test {
namespace {

class SweepFile : public testing::Test {
 protected:
  SweepFile() {
    write_text(directory_ / "tiny.toml", content("tiny"));
    write_text(directory_ / "tiny-llama.toml", content("tiny-llama"));
  }
  static std::string content(const std::string& name) {
    std::ifstream file(fmt::format("{}/configs/{}.toml", DLCM_SOURCE_DIR, name));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  SweepSpec load(const std::string& text) {
    write_text(directory_ / "sweep.toml", text);
    return load_sweep(directory_ / "sweep.toml");
  }
  std::string refusal(const std::string& text) {
    return message_of<Error>([&] { grid_points(load(text)); });
  }
  TemporaryDirectory directory_;
};

TEST_F(SweepFile, GridIsEveryCombination) {
  const auto spec = load(
      "base = \"tiny.toml\"\nset = [\"train.steps=7\"]\nruns_at_once = 3\nthreads = 2\nkeep_checkpoints = false\n"
      "[budget]\nruns = 9\nhours = 1.5\n"
      "[[axis]]\nname = \"model\"\nconfig = [\"tiny.toml\", \"tiny-llama.toml\"]\n"
      "[[axis]]\nname = \"width\"\nkeys = [\"model.token.width\", \"model.token.heads\"]\nvalues = [[16, 2], [32, 4]]\n"
      "[[axis]]\nname = \"rate\"\nmultiply = [\"optimizer.token_rate\", \"optimizer.head_rate\"]\nvalues = [0.5, 1, "
      "2.0]\n"
      "[[axis]]\nkey = \"train.seed\"\nvalues = [1, 2]\n");
  EXPECT_EQ(spec.runs_at_once, 3);
  EXPECT_EQ(spec.threads, 2);
  EXPECT_FALSE(spec.keep_checkpoints);
  EXPECT_EQ(spec.most_runs, 9);
  EXPECT_EQ(spec.most_hours, 1.5);
  const auto points = grid_points(spec);
  ASSERT_EQ(points.size(), 24U);
  const auto& last = points.back();
  EXPECT_EQ(last.labels, (std::vector<std::pair<std::string, std::string>>{
                             {"model", "tiny-llama"}, {"width", "32"}, {"rate", "2"}, {"train.seed", "2"}}));
  EXPECT_EQ(last.config.model.kind, ModelKind::llama);
  EXPECT_EQ(last.config.model.token.heads, 4);
  EXPECT_EQ(last.config.train.steps, 7);
  EXPECT_EQ(last.config.train.seed, 2);
  EXPECT_DOUBLE_EQ(last.config.optimizer.token_rate, 2 * OptimizerConfig().token_rate);
  EXPECT_DOUBLE_EQ(last.config.optimizer.head_rate, 2 * OptimizerConfig().head_rate);
  EXPECT_EQ(last.config.optimizer.embedding_rate, OptimizerConfig().embedding_rate);
  EXPECT_EQ(points[1].labels[3].second, "2");  // the last axis changes fastest
}

TEST_F(SweepFile, WordsAndLabels) {
  const auto points = grid_points(
      load("base = \"tiny.toml\"\n[[axis]]\nname = \"mup\"\nkeys = [\"mup.base_token_width\", \"parser.rule\"]\n"
           "values = [[8, \"stride\"], [0, \"learned\"]]\nlabels = [\"with\", \"without\"]\n"));
  ASSERT_EQ(points.size(), 2U);
  EXPECT_EQ(points[0].labels[0].second, "with");
  EXPECT_EQ(points[0].config.parser.rule, BoundaryRule::stride);
  EXPECT_EQ(points[0].config.mup.base_token_width, 8);
}

TEST_F(SweepFile, WrongFilesAreNamed) {
  const std::string base = "base = \"tiny.toml\"\n";
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"", "base expects"},
           {"base = \"tiny.toml\"", "axis expects"},
           {base + "axes = 1", "unknown key axes; the nearest known one is axis"},
           {base + "method = \"random\"\n[[axis]]\nkey = \"train.seed\"\nvalues = [1]", "sweep.toml:2: method expects"},
           {base + "[[axis]]\nkey = \"train.seed\"", "values expects"},
           {base + "[[axis]]\nkey = \"train.seed\"\nvalues = []", "values expects"},
           {base + "[[axis]]\nkey = \"train.seed\"\nvalues = [1, 1]", "a different label"},
           {base + "[[axis]]\nkey = \"train.seed\"\nmultiply = [\"optimizer.token_rate\"]\nvalues = [1]",
            "only one of"},
           {base + "[[axis]]\nname = \"x\"\nkeys = [\"train.seed\", \"train.steps\"]\nvalues = [[1]]",
            "2 values in each"},
           {base + "[[axis]]\nname = \"x\"\nmultiply = [\"train.steps\"]\nvalues = [1]",
            "only keys that take any number"},
           {base + "[[axis]]\nname = \"x\"\nmultiply = [\"optimizer.token_rate\"]\nvalues = [-1]", "factors above 0"},
           {base + "[[axis]]\nkey = \"train.sede\"\nvalues = [1]", "train.seed"},
           {base + "[[axis]]\nkey = \"train.steps\"\nvalues = [0]", "the run with train.steps = 0 cannot be"},
           {base + "[[axis]]\nkey = \"train.seed\"\nvalues = [1]\nlabels = [\"a\", \"b\"]", "as many labels"},
           {base + "[budget]\nruns = 0\n[[axis]]\nkey = \"train.seed\"\nvalues = [1]", "budget.runs expects"},
           {base + "[[axis]]\nkey = \"train.seed\"\nvalues = [1]\n[[axis]]\nkey = \"train.seed\"\nvalues = [1]",
            "one axis named"},
           {base + "[[axis]]\nkey = \"train.seed\"\nvalues = [1]\n[[axis]]\nname = \"m\"\nconfig = [\"tiny.toml\"]",
            "come first"},
           {"base = \"missing.toml\"\n[[axis]]\nkey = \"train.seed\"\nvalues = [1]", "missing.toml"},
           {"base = ", "not valid TOML"}}) {
    EXPECT_TRUE(has(refusal(text), part)) << text;
  }
}

}  // namespace
}  // namespace dlcm::test
