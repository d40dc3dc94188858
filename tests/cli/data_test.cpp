// `dlcm data build` as a user runs it: refused, stopped, on a full disk.
#include "tests/io/temporary_directory.h"
#include "tests/support/compress.h"
#include "tests/support/process.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <map>

namespace dlcm {
namespace {

class DataVerb : public ::testing::Test {
 protected:
  test::Finished run(std::vector<std::string> more, rlim_t largest_file_bytes = RLIM_INFINITY) {
    return test::Process(directory_ / "scratch", arguments(std::move(more)), largest_file_bytes).wait();
  }
  std::vector<std::string> arguments(std::vector<std::string> more) {
    more.insert(more.begin(), {"data", "build", "--tokenizer", "bytes"});
    return more;
  }
  std::string write(const std::string& name, const std::string& content) {
    test::overwrite(directory_ / name, content);
    return directory_ / name;
  }
  std::map<std::string, std::string> files_of(const std::string& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      files[entry.path().filename().string()] = test::content_of(entry.path().string());
    }
    return files;
  }

  test::TemporaryDirectory directory_;
};

TEST_F(DataVerb, RefusesABadLineWithOneSentenceAndLeavesNothing) {
  const auto input = write("a.jsonl", "{\"text\": \"good\"}\n{\"text\": 3}\n");
  const auto output = directory_ / "data";
  const auto finished = run({"--input", input, "--output", output});
  EXPECT_EQ(finished.status, 2);
  EXPECT_NE(finished.messages.find("line 2 of " + input), std::string::npos) << finished.messages;
  EXPECT_NE(finished.messages.find("--skip-bad"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(output));
  EXPECT_FALSE(std::filesystem::exists(output + ".partial"));
}

TEST_F(DataVerb, CountsWhatItLeavesOutAndPrintsTheStatistics) {
  write("a.jsonl",
        "{\"body\": \"abcd\", \"kind\": \"x\"}\nbroken\n{\"body\": 3, \"kind\": \"x\"}\n{\"body\": \"\", \"kind\": "
        "\"y\"}\n");
  write("b.jsonl.gz", testing::gzip("{\"body\": \"abcd\", \"kind\": \"x\"}\n{\"body\": \"ef\", \"kind\": \"y\"}\n"));
  const auto finished = run({"--input", directory_ / "a.jsonl", directory_ / "b.jsonl.gz", "--output",
                             directory_ / "data", "--field", "body", "--domain-field", "kind", "--skip-bad",
                             "--drop-duplicates", "--validation-fraction", "0", "--threads", "1", "--json"});
  ASSERT_EQ(finished.status, 0) << finished.messages;
  const auto result = nlohmann::json::parse(finished.output);
  EXPECT_EQ(result["train"]["documents"], 2);
  EXPECT_EQ(result["train"]["tokens"], 10);
  EXPECT_EQ(result["train"]["bytes_per_token"], 1.0);
  EXPECT_EQ(result["train"]["domains"]["y"]["documents"], 1);
  EXPECT_EQ(result["documents_duplicate"], 1);
  EXPECT_EQ(result["documents_empty"], 1);
  EXPECT_EQ(result["left_out"], (nlohmann::json{{"not_json", 1}, {"wrong_field", 1}}));
  EXPECT_NE(finished.messages.find("y: 1 documents"), std::string::npos) << finished.messages;
  EXPECT_TRUE(std::filesystem::exists(directory_ / "data/problems.jsonl"));
}

TEST_F(DataVerb, GoesOnAfterASignalAndAfterAFullDisk) {
  std::string lines;
  for (int index = 0; index < 200000; ++index) {
    lines += "{\"text\": \"record " + std::to_string(index * 7919) + " of the many records in this file\"}\n";
  }
  const auto input = write("a.jsonl", lines);
  ASSERT_EQ(run({"--input", input, "--output", directory_ / "whole"}).status, 0);

  const auto output = directory_ / "data";
  test::Process process(directory_ / "stopped", arguments({"--input", input, "--output", output}));
  ASSERT_TRUE(process.wait_for_file(output + ".partial/train-00000.shard.partial"));
  process.signal(SIGTERM);
  const auto stopped = process.wait();
  EXPECT_EQ(stopped.status, 143) << stopped.messages;
  EXPECT_NE(stopped.messages.find("the same command goes on"), std::string::npos) << stopped.messages;
  EXPECT_FALSE(std::filesystem::exists(output));

  const auto full = run({"--input", input, "--output", output}, 10 << 20);
  EXPECT_EQ(full.status, 1) << full.messages;
  EXPECT_NE(full.messages.find("cannot write"), std::string::npos) << full.messages;
  EXPECT_FALSE(std::filesystem::exists(output));

  const auto finished = run({"--input", input, "--output", output});
  EXPECT_EQ(finished.status, 0) << finished.messages;
  EXPECT_NE(finished.messages.find("going on with the build"), std::string::npos) << finished.messages;
  EXPECT_TRUE(files_of(output) == files_of(directory_ / "whole"));
}

}  // namespace
}  // namespace dlcm
