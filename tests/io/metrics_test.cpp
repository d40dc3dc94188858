// metrics.jsonl: lines are whole, resumes cut it back.
#include "dlcm/io/metrics.h"

#include "dlcm/io/files.h"
#include "dlcm/util/error.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <limits>

namespace dlcm {
namespace {

using nlohmann::json;
using test::message_of;
using test::TemporaryDirectory;

TEST(Metrics, EachLineIsInTheFileOnceItIsLogged) {
  const TemporaryDirectory directory;
  MetricsLog log(directory.path());
  log.append({{"step", 1}, {"loss", 3.25}});
  EXPECT_EQ(read_file(directory / "metrics.jsonl"), "{\"loss\":3.25,\"step\":1}\n");
  log.append({{"step", 2}, {"loss", std::numeric_limits<double>::quiet_NaN()}});
  const auto lines = read_metrics(directory / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_TRUE(lines[1]["loss"].is_null());
}

TEST(Metrics, AnotherLogOfTheRunAppends) {
  const TemporaryDirectory directory;
  MetricsLog(directory.path()).append({{"step", 1}});
  MetricsLog(directory.path()).append({{"step", 2}});
  EXPECT_EQ(read_metrics(directory / "metrics.jsonl").size(), 2u);
}

TEST(Metrics, CutBackKeepsStepsUpToTheCheckpointAsTheyWere) {
  const TemporaryDirectory directory;
  const std::string path = directory / "metrics.jsonl";
  const std::string kept =
      "{\"step\":1, \"loss\":2.50}\n{\"note\":\"resumed\"}\n{\"step\":2}\n{\"step\":2,\"val_loss\":3}\n";
  write_file_synced(path, kept + "{\"step\":3}\n{\"step\":4}\n{\"step\":5,\"lo");
  MetricsLog log(directory.path());
  log.cut_back(2);
  EXPECT_EQ(read_file(path), kept);
  EXPECT_FALSE(std::filesystem::exists(path + ".partial"));
  log.append({{"step", 3}});
  EXPECT_EQ(read_file(path), kept + "{\"step\":3}\n");
}

TEST(Metrics, CutBackEndsALastLineThatOnlyLacksItsEnd) {
  const TemporaryDirectory directory;
  write_file_synced(directory / "metrics.jsonl", "{\"step\":1}\n{\"step\":2}");
  MetricsLog log(directory.path());
  log.cut_back(2);
  log.append({{"step", 3}});
  EXPECT_EQ(read_file(directory / "metrics.jsonl"), "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n");
}

TEST(Metrics, OnlyTheLastLineMayBeHalfWritten) {
  const TemporaryDirectory directory;
  const std::string path = directory / "metrics.jsonl";
  write_file_synced(path, "{\"step\":1}\n{\"step\":2,\"a\":{\"b\":1}");
  EXPECT_EQ(read_metrics(path).size(), 1u);
  for (const auto* content : {"{\"step\":1}\n{\"st\n{\"step\":2}\n", "{\"step\":1}\n7\n", "{\"step\":1}\n\n"}) {
    write_file_synced(path, content);
    const std::string text = message_of<Error>([&] { read_metrics(path); });
    EXPECT_NE(text.find("line 2 of " + path), std::string::npos) << text;
    EXPECT_THROW(MetricsLog(directory.path()).cut_back(1), Error);
    EXPECT_EQ(read_file(path), content);
  }
  EXPECT_THROW(read_metrics(directory / "nowhere"), Error);
}

}  // namespace
}  // namespace dlcm
