// Facts about records, their places and what is wrong with input.
#include "dlcm/tokenizer/record_input.h"
#include "dlcm/util/error.h"
#include "tests/support/compress.h"
#include "tests/tokenizer/training_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <sstream>
#include <thread>

namespace dlcm {
namespace {

using testing::TemporaryFolder;

// "FILE:LINE content", or "FILE:LINE !fault".
std::vector<std::string> seen(RecordInput& input) {
  std::vector<std::string> lines;
  for (InputRecord record; input.next(record);) {
    lines.push_back(std::to_string(record.file) + ":" + std::to_string(record.line) + " " +
                    (record.fault ? "!" + std::string(name_of(*record.fault)) : record.content));
  }
  return lines;
}

std::vector<std::string> seen(const std::vector<std::string>& paths, const InputRules& rules = {},
                              const std::string& standard_input = "") {
  std::istringstream stream(standard_input);
  RecordInput input(paths, rules, stream);
  return seen(input);
}

TEST(RecordInput, NamesFileAndLineOfEveryRecord) {
  TemporaryFolder folder;
  const auto text = folder.write("a.txt", "one\nstill\n<|endoftext|>\n<|endoftext|>\ntwo");
  const auto lines = folder.write("b.jsonl", "{1}\n\n  \n{2}\n{3}");
  EXPECT_EQ(seen({text, lines}),
            (std::vector<std::string>{"0:1 one\nstill", "0:4 ", "0:5 two", "1:1 {1}\n", "1:4 {2}\n", "1:5 {3}"}));
}

TEST(RecordInput, TakesTheFormatThatIsAskedFor) {
  TemporaryFolder folder;
  const auto text = folder.write("a.txt", "{1}\n{2}\n"), lines = folder.write("b.jsonl", "{3}\n{4}\n");
  EXPECT_EQ(seen({text, lines}, {.format = InputFormat::json_lines}).size(), 4u);
  EXPECT_EQ(seen({text, lines}, {.format = InputFormat::text}).size(), 2u);
  EXPECT_EQ(seen({"-"}, {.format = InputFormat::json_lines}, "{1}\n{2}").size(), 2u);
}

TEST(RecordInput, LeavesOutDocumentsThatAreTooLongWithoutHoldingThem) {
  TemporaryFolder folder;
  const InputRules rules{.longest_record_bytes = 20};
  const std::string large(3 << 20, 'x');
  const auto lines =
      folder.write("a.jsonl", "{short}\n" + large + "\n{next}\n{12345678901234567}\n{123456789012345678}\n");
  EXPECT_EQ(seen({lines}, rules), (std::vector<std::string>{"0:1 {short}\n", "0:2 !too_long", "0:3 {next}\n",
                                                            "0:4 {12345678901234567}\n", "0:5 !too_long"}));
  const auto text = folder.write(
      "a.txt", "ab\ncd\n<|endoftext|>\n1234567890\n1234567890\n<|endoftext|>\n" + large + "\n<|endoftext|>\nend\n");
  EXPECT_EQ(seen({text}, rules),
            (std::vector<std::string>{"0:1 ab\ncd", "0:4 !too_long", "0:7 !too_long", "0:9 end\n"}));
}

TEST(RecordInput, GoesOnWithTheNextFileBehindABadOne) {
  TemporaryFolder folder;
  std::mt19937 random(1);
  std::string records;
  for (int index = 0; index < 3000; ++index) records += std::to_string(random()) + "\n";
  const auto whole = testing::gzip(records);
  const auto truncated = folder.write("a.jsonl.gz", whole.substr(0, whole.size() / 2));
  const auto wrong = folder.write("b.jsonl.zst", "not zstd");
  const auto wide = folder.write("c.txt", std::string("\xFF\xFE"
                                                      "a\0b\0",
                                                      6));
  const auto good = folder.write("d.jsonl", "{1}\n");
  const auto found = seen({truncated, wrong, wide, "/proc/self/mem", good});
  ASSERT_GT(found.size(), 1000u);
  const std::vector<std::string> tail(found.end() - 5, found.end());
  EXPECT_EQ(tail[1], "1:1 !damaged_file");
  EXPECT_EQ(tail[2], "2:1 !utf16_file");
  EXPECT_EQ(tail[3], "3:1 !unreadable_file");
  EXPECT_EQ(tail[4], "4:1 {1}\n");
  // The line of the fault is the one that could not be read to its end.
  EXPECT_EQ(tail[0], "0:" + std::to_string(found.size() - 4) + " !damaged_file");
}

// Reads some records, notes the place, and expects another reader that goes there to see the rest.
void expect_to_go_on_anywhere(const std::vector<std::string>& paths, const InputRules& rules,
                              const std::string& standard_input = "") {
  const auto all = seen(paths, rules, standard_input);
  ASSERT_GT(all.size(), 5u);
  for (size_t stop = 0; stop <= all.size(); ++stop) {
    std::istringstream first_stream(standard_input), second_stream(standard_input);
    RecordInput first(paths, rules, first_stream);
    InputRecord record;
    for (size_t count = 0; count < stop; ++count) ASSERT_TRUE(first.next(record));
    const InputPlace place = first.place();
    RecordInput second(paths, rules, second_stream);
    second.go_to(place);
    EXPECT_EQ(seen(second), (std::vector<std::string>(all.begin() + static_cast<std::ptrdiff_t>(stop), all.end())))
        << "after " << stop;
  }
}

TEST(RecordInput, GoesOnFromThePlaceBehindAnyRecord) {
  TemporaryFolder folder;
  const std::string text = "one\n<|endoftext|>\ntwo\nlines\n<|endoftext|>\n\n<|endoftext|>\nthree";
  const std::string lines = "{1}\n\n{2}\n" + std::string(3000, 'x') + "\n{3}\n";
  const std::vector<std::string> paths{folder.write("a.txt", text),
                                       folder.write("b.jsonl", lines),
                                       folder.write("c.jsonl.gz", testing::gzip(lines)),
                                       folder.write("d.jsonl.zst", testing::zstd(lines)),
                                       folder.write("e.jsonl.gz", testing::gzip(lines).substr(0, 30)),
                                       folder.write("f.txt", "end")};
  expect_to_go_on_anywhere(paths, {.longest_record_bytes = 1000});
  expect_to_go_on_anywhere({paths[0], "-", paths[1]}, {.longest_record_bytes = 1000}, text);
  expect_to_go_on_anywhere({"-"}, {.format = InputFormat::json_lines, .longest_record_bytes = 1000},
                           testing::gzip(lines + lines));
}

TEST(RecordInput, RefusesToGoOnWithAnotherStandardInput) {
  std::istringstream stream("one\n<|endoftext|>\ntwo\n"), other("oNe\n<|endoftext|>\ntwo\n"), shorter("one\n");
  RecordInput first({"-"}, {}, stream);
  InputRecord record;
  ASSERT_TRUE(first.next(record));
  RecordInput second({"-"}, {}, other);
  EXPECT_THROW(second.go_to(first.place()), Error);
  RecordInput third({"-"}, {}, shorter);
  EXPECT_THROW(third.go_to(first.place()), Error);
}

TEST(RecordInput, ReadsAPipe) {
  TemporaryFolder folder;
  const std::string path = folder / "pipe.jsonl";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  std::jthread writer([&] { std::ofstream(path) << "{1}\n{2}\n"; });
  EXPECT_EQ(seen({path}), (std::vector<std::string>{"0:1 {1}\n", "0:2 {2}\n"}));
}

}  // namespace
}  // namespace dlcm
