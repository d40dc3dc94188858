// Reads with a bound, writes that appear at once, the lock of a run.
#include "dlcm/io/files.h"

#include "dlcm/util/error.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

namespace dlcm {
namespace {

using test::message_of;
using test::TemporaryDirectory;

TEST(Files, ReadGivesWhatWriteTook) {
  const TemporaryDirectory directory;
  const std::string content("a\0\n\xff", 4);
  write_file_synced(directory / "file", content);
  EXPECT_EQ(read_file(directory / "file"), content);
  EXPECT_FALSE(std::filesystem::exists(directory / "file.partial"));
}

TEST(Files, ReadRefusesMissingDirectoryAndTooLarge) {
  const TemporaryDirectory directory;
  EXPECT_NE(message_of<Error>([&] { read_file(directory / "nowhere"); }).find("found none"), std::string::npos);
  EXPECT_NE(message_of<Error>([&] { read_file(directory.path()); }).find("found a directory"), std::string::npos);
  write_file_synced(directory / "file", "12345");
  EXPECT_EQ(read_file(directory / "file", 5), "12345");
  EXPECT_NE(message_of<Error>([&] { read_file(directory / "file", 4); }).find("at most 4 bytes"), std::string::npos);
}

TEST(Files, UnclosedFileLeavesTheOldContentAndNothingElse) {
  const TemporaryDirectory directory;
  write_file_synced(directory / "file", "old");
  {
    OutputFile file(directory / "file");
    file.append("new");
  }
  EXPECT_EQ(read_file(directory / "file"), "old");
  EXPECT_FALSE(std::filesystem::exists(directory / "file.partial"));
}

TEST(Files, LinkStaysALinkWhenItsFileIsReplaced) {
  const TemporaryDirectory directory;
  write_file_synced(directory / "file", "old");
  std::filesystem::create_symlink("file", directory / "link");
  write_file_synced(directory / "link", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(directory / "link"));
  EXPECT_EQ(read_file(directory / "file"), "new");
}

TEST(Files, DeviceIsWrittenInPlace) {
  write_file_synced("/dev/null", "gone");
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST(Files, WriteIntoNoDirectoryNamesPathAndReason) {
  const std::string text = message_of<RuntimeFailure>([] { write_file_synced("/nowhere/file", "x"); });
  EXPECT_NE(text.find("/nowhere/file"), std::string::npos);
  EXPECT_NE(text.find("No such file or directory"), std::string::npos);
}

TEST(Files, FullDiskIsARuntimeFailure) {
  if (!std::filesystem::is_character_file("/dev/full")) {
    GTEST_SKIP() << "no /dev/full here";
  }
  const std::string text = message_of<RuntimeFailure>([] { write_file_synced("/dev/full", "x"); });
  EXPECT_NE(text.find("No space left on device"), std::string::npos);
}

TEST(RunLock, SecondLockIsRefusedAndNamesTheHolder) {
  const TemporaryDirectory directory;
  const std::string run = directory / "a/run";
  {
    const RunLock lock(run);
    const std::string text = message_of<Error>([&] { const RunLock second(run); });
    EXPECT_NE(text.find("another training is running in " + run), std::string::npos);
    EXPECT_NE(text.find(fmt::format("process {})", ::getpid())), std::string::npos) << text;
    const RunLock other(directory / "b");
  }
  const RunLock again(run);
}

TEST(RunLock, KilledProcessGivesItsLockBack) {
  const TemporaryDirectory directory;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const RunLock lock(directory.path());
    [[maybe_unused]] const auto written = ::write(ready[1], "x", 1);
    ::pause();
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const std::string text = message_of<Error>([&] { const RunLock second(directory.path()); });
  EXPECT_NE(text.find(fmt::format("process {})", child)), std::string::npos) << text;
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  {
    const RunLock next(directory.path());
    EXPECT_EQ(std::stoi(read_file(directory / "lock")), ::getpid());
  }
  ::close(ready[0]);
  ::close(ready[1]);
}

}  // namespace
}  // namespace dlcm
