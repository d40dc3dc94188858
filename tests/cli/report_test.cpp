// `dlcm report` as a user runs it.
#include "tests/analysis/synthetic_run.h"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

namespace dlcm::test {
namespace {

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Result {
  int status;
  std::string messages;
};

class ReportVerb : public testing::Test {
 protected:
  ReportVerb() {
    write_synthetic_run(directory_ / "small", {.config = "tiny", .steps = 20, .eval_every_steps = 10});
    write_synthetic_run(directory_ / "plain", {.config = "tiny-llama", .steps = 20, .eval_every_steps = 10});
  }

  // `arguments` as in a shell, run in the directory of the runs.
  Result report(const std::string& arguments) const {
    const auto command =
        fmt::format("cd '{}' && '{}' report {} > output 2> messages", directory_.path(), DLCM_BINARY, arguments);
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, content_of(directory_ / "messages")};
  }

  TemporaryDirectory directory_;
};

TEST_F(ReportVerb, WritesOnePageOfAllRuns) {
  write_text(directory_ / "own.txt", "A text <of> my own.");
  const auto result = report("small plain/ --output page.html --sample own.txt --prompt 'My prompt'");
  EXPECT_EQ(result.status, 0) << result.messages;
  EXPECT_EQ(result.messages, "page.html shows 2 runs\n");
  const auto page = content_of(directory_ / "page.html");
  EXPECT_TRUE(has(page, "<title>small and plain</title>"));
  EXPECT_TRUE(has(page, "<h3>own.txt</h3>"));
  EXPECT_TRUE(has(page, "<b>My prompt</b>"));
  EXPECT_FALSE(has(page, "Once upon a time"));
}

TEST_F(ReportVerb, ShowsARunWithoutCheckpoint) {
  std::filesystem::remove_all((directory_ / "small") + "/step-00000020");
  const auto result = report("small plain --output page.html");
  EXPECT_EQ(result.status, 0) << result.messages;
  EXPECT_TRUE(has(result.messages, "no samples of small: "));
  EXPECT_TRUE(has(content_of(directory_ / "page.html"), "No samples of small"));
}

TEST_F(ReportVerb, RefusesWrongInputAndLeavesTheOldPage) {
  write_text(directory_ / "page.html", "old");
  for (const char* arguments : {"nowhere --output page.html", "small small --output page.html",
                                "small --output page.html --sample missing.txt", "--output page.html", "small"}) {
    EXPECT_EQ(report(arguments).status, 2) << arguments;
  }
  EXPECT_EQ(content_of(directory_ / "page.html"), "old");
  EXPECT_FALSE(std::filesystem::exists(directory_ / "page.html.partial"));
}

TEST_F(ReportVerb, SaysThatThePageCannotBeWritten) {
  const auto result = report("small --output missing/page.html");
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(has(result.messages, "missing/page.html"));
}

}  // namespace
}  // namespace dlcm::test
