// Facts about builds that are killed, stopped or run into a full disk, and go on.
#include "dlcm/data/build.h"
#include "dlcm/data/dataset.h"
#include "dlcm/io/files.h"
#include "dlcm/util/error.h"
#include "tests/support/compress.h"
#include "tests/tokenizer/training_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

namespace dlcm {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

std::map<std::string, std::string> files_of(const std::string& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    files[entry.path().filename().string()] = read_file(entry.path().string());
  }
  return files;
}

// JSON lines with duplicates, empty texts, broken lines and odd bytes.
std::string corpus(int records, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string lines;
  for (int index = 0; index < records; ++index) {
    const unsigned kind = random() % 20;
    if (kind == 0) {
      lines += "broken\n";
    } else {
      const auto text = kind == 1 ? "" : testing::made_up_text(1 + static_cast<int>(random() % 5), random() % 2000);
      lines += nlohmann::json{{"text", text}, {"source", kind % 2 == 0 ? "web" : "code"}}.dump() + "\n";
    }
  }
  return lines;
}

DataBuild request(const std::vector<std::string>& inputs, const std::string& output) {
  return {.tokenizer = "bytes",
          .inputs = inputs,
          .validation_fraction = 0.1,
          .output = output,
          .fields = {.domain = "source"},
          .drop_duplicates = true,
          .skip_bad = true,
          .threads = 1,
          .shard_tokens = 300000,
          .commit_bytes = 1 << 16};
}

DataSummary build(const DataBuild& request, const std::string& standard_input = "") {
  std::istringstream stream(standard_input);
  return build_data(request, stream);
}

// Runs the build in a process of its own. The exit status is 0 where it came to its end, 1 where it failed.
pid_t start(const DataBuild& request, rlim_t largest_file = RLIM_INFINITY) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{largest_file, largest_file};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::freopen("/dev/null", "w", stderr);
  try {
    const auto summary = build(request);
    ::_exit(summary.signal ? 128 + *summary.signal : 0);
  } catch (const Error& error) {
    ::_exit(error.exit_status());
  }
}

int wait(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

class KilledBuild : public ::testing::Test {
 protected:
  KilledBuild() {
    const auto text = corpus(12000);
    inputs_ = {folder_.write("in/a.jsonl", text.substr(0, text.size() / 3)),
               folder_.write("in/b.jsonl.gz", testing::gzip(corpus(5000, 2))),
               folder_.write("in/c.jsonl.zst", testing::zstd(corpus(5000, 3)))};
    summary_ = build(request(inputs_, folder_ / "whole"));
    whole_ = files_of(folder_ / "whole");
  }

  void expect_whole(const std::string& output) {
    EXPECT_TRUE(files_of(output) == whole_);
    EXPECT_FALSE(fs::exists(output + ".partial"));
  }

  TemporaryFolder folder_;
  std::vector<std::string> inputs_;
  DataSummary summary_;
  std::map<std::string, std::string> whole_;
};

TEST_F(KilledBuild, IsGoneOnWithToTheSameBytes) {
  EXPECT_GT(summary_.documents_duplicate, 1000);
  EXPECT_GT(summary_.faults.at(InputFault::not_json), 100);
  EXPECT_GT(whole_.size(), 6u) << "several shards";
  std::mt19937 random(9);
  int kills = 0;
  for (int round = 0; round < 5; ++round) {
    const auto output = folder_ / ("killed" + std::to_string(round));
    for (int attempt = 0;; ++attempt) {
      const pid_t child = start(request(inputs_, output));
      if (attempt < 6) {
        std::this_thread::sleep_for(std::chrono::milliseconds(random() % 150));
        ::kill(child, SIGKILL);
      }
      const int status = wait(child);
      if (status == 0) break;
      ASSERT_EQ(status, -SIGKILL);
      ++kills;
      if (fs::exists(output)) break;  // killed behind the rename
    }
    fs::remove(output + "/progress.json");
    fs::remove(output + "/lock");
    expect_whole(output);
    fs::remove_all(output);
  }
  EXPECT_GT(kills, 3);
}

TEST_F(KilledBuild, SavesAndStopsAtASignal) {
  const auto output = folder_ / "stopped";
  int stops = 0;
  for (int status = -1; status != 0;) {
    const pid_t child = start(request(inputs_, output));
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    ::kill(child, stops % 2 == 0 ? SIGINT : SIGTERM);
    status = wait(child);
    if (status == 0) break;
    if (status > 0) {
      ASSERT_TRUE(status == 128 + SIGINT || status == 128 + SIGTERM) << status;
    }
    ASSERT_LT(++stops, 200) << "no progress";
  }
  expect_whole(output);
}

TEST_F(KilledBuild, GoesOnAfterAFullDisk) {
  const auto output = folder_ / "full";
  for (const rlim_t limit : {1000, 40000, 120000, 200000}) {
    EXPECT_EQ(wait(start(request(inputs_, output), limit)), 1) << limit;
    EXPECT_FALSE(fs::exists(output));
  }
  EXPECT_EQ(wait(start(request(inputs_, output))), 0);
  expect_whole(output);
}

// Standard input breaks off behind `length` bytes, as where the program that writes it is killed.
class BrokenStream : public std::istream {
 public:
  BrokenStream(const std::string& text, size_t length) : std::istream(&buffer_), buffer_(text.substr(0, length)) {}

 private:
  struct Buffer : std::stringbuf {
    using std::stringbuf::stringbuf;
    std::streamsize xsgetn(char* destination, std::streamsize count) override {
      const auto got = std::stringbuf::xsgetn(destination, count);
      if (got < count) throw std::runtime_error("broken");
      return got;
    }
  };
  Buffer buffer_;
};

TEST_F(KilledBuild, GoesOnWithStandardInput) {
  const auto text = corpus(12000);
  auto whole_request = request({"-"}, folder_ / "from-input");
  whole_request.rules.format = InputFormat::json_lines;
  whole_request.skip_bad = false;  // so that the broken stream ends the build
  std::string clean;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) clean += line == "broken" ? "" : line + "\n";
  build(whole_request, clean);
  auto broken = whole_request;
  broken.output = folder_ / "broken";
  for (const size_t share : {20, 45, 45, 80}) {
    BrokenStream stream(clean, clean.size() * share / 100);
    EXPECT_THROW(build_data(broken, stream), RuntimeFailure);
    EXPECT_TRUE(fs::exists(broken.output + ".partial/progress.json"));
  }
  auto changed = clean;
  changed[100] ^= 1;
  EXPECT_THROW(build(broken, changed), Error);
  build(broken, clean);
  EXPECT_TRUE(files_of(folder_ / "from-input") == files_of(broken.output));
}

TEST_F(KilledBuild, RefusesOtherSettingsAndOtherFiles) {
  auto again = request(inputs_, folder_ / "refused");
  again.skip_bad = false;
  const auto bad = folder_.write("late.jsonl", corpus(3000, 5) + "[]\n");
  auto skipping = again;
  again.inputs.push_back(bad);
  // Leaves a state behind: the first broken line comes late enough.
  const auto clean = folder_.write("clean.jsonl", [] {
    std::string lines;
    for (int index = 0; index < 20000; ++index)
      lines += fmt::format("{{\"text\": \"{0} and {0}\", \"source\": \"web\"}}\n", index);
    return lines;
  }());
  again.inputs = {clean, bad};
  EXPECT_THROW(build(again), Error);
  const auto state = again.output + ".partial/progress.json";
  ASSERT_TRUE(fs::exists(state));

  const auto refusal = [&](const DataBuild& other) -> std::string {
    try {
      build(other);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  auto other = again;
  other.validation_fraction = 0.2;
  EXPECT_THAT(refusal(other), HasSubstr("--validation-fraction"));
  other = again;
  other.drop_duplicates = false;
  EXPECT_THAT(refusal(other), HasSubstr("--drop-duplicates"));
  other = again;
  other.inputs = {bad, clean};
  EXPECT_THAT(refusal(other), HasSubstr("--input"));
  const auto content = read_file(state);
  for (const std::string broken : {"", "{", "[]", "{}", "{\"format\": 2}"}) {
    write_file_synced(state, broken);
    EXPECT_THAT(refusal(again), HasSubstr("remove")) << broken;
  }
  write_file_synced(state, content);
  fs::last_write_time(clean, fs::last_write_time(clean) + std::chrono::seconds(1));
  EXPECT_THAT(refusal(again), HasSubstr("changed"));
  fs::last_write_time(clean, fs::last_write_time(clean) - std::chrono::seconds(1));
  again.skip_bad = true;
  EXPECT_EQ(refusal(again), "") << "what is bad may be left out from here on";
  EXPECT_GT(Dataset(again.output, Split::train).documents(), 15000);
}

TEST_F(KilledBuild, HoldsItsFolderAgainstASecondBuild) {
  const auto output = folder_ / "both";
  const RunLock lock(output + ".partial", "build");
  try {
    build(request(inputs_, output));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("another build is running in " + output));
  }
}

TEST(HeldDocument, SurvivesAKillBeforeTheOtherSideHasOne) {
  TemporaryFolder folder;
  std::string text;
  for (int index = 0; index < 20000; ++index) text += "document " + std::to_string(index) + "\n<|endoftext|>\n";
  DataBuild whole{.tokenizer = "bytes",
                  .inputs = {"-"},
                  .validation_fraction = 1e-12,
                  .output = folder / "whole",
                  .commit_bytes = 1 << 14};
  build(whole, text);
  auto broken = whole;
  broken.output = folder / "broken";
  for (int round = 0; round < 6; ++round) {
    BrokenStream stream(text, text.size() * static_cast<size_t>(30 + 10 * round) / 100);
    EXPECT_THROW(build_data(broken, stream), RuntimeFailure);
  }
  build(broken, text);
  EXPECT_TRUE(files_of(folder / "whole") == files_of(broken.output));
  EXPECT_EQ(Dataset(broken.output, Split::valid).documents(), 1);
}

}  // namespace
}  // namespace dlcm
