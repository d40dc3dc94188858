// Facts about where documents end.
#include "dlcm/tokenizer/text_input.h"
#include "dlcm/util/error.h"
#include "tests/support/compress.h"
#include "tests/tokenizer/training_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace dlcm {
namespace {

using testing::TemporaryFolder;
using Documents = std::vector<std::string>;

Documents documents_of(const std::vector<std::string>& paths, const std::string& standard_input = "") {
  std::istringstream stream(standard_input);
  TextInput input(paths, stream);
  Documents documents;
  for (std::string document; input.next(document);) documents.push_back(document);
  return documents;
}

TEST(TextInput, EndsDocumentsAtSeparatorLinesWithoutTheLineEndBefore) {
  const auto split = [](const std::string& text) { return documents_of({"-"}, text); };
  EXPECT_EQ(split("a\n<|endoftext|>\nb\n"), (Documents{"a", "b\n"}));
  EXPECT_EQ(split("a\r\n<|endoftext|>\r\nb\r\n"), (Documents{"a", "b\r\n"}));
  EXPECT_EQ(split("a\n\n<|endoftext|>"), (Documents{"a\n"}));
  EXPECT_EQ(split("<|endoftext|>\n<|endoftext|>\na"), (Documents{"a"}));
  EXPECT_EQ(split("\n<|endoftext|>\n\n"), (Documents{"\n"}));
  EXPECT_EQ(split("x <|endoftext|>\n<|endoftext|> \n"), (Documents{"x <|endoftext|>\n<|endoftext|> \n"}));
  EXPECT_EQ(split(""), Documents{});
}

TEST(TextInput, KeepsAllOtherBytes) {
  TemporaryFolder folder;
  std::mt19937 random(23);
  for (int round = 0; round < 200; ++round) {
    const std::string text = testing::hostile_text(random) + "x";
    if (("\n" + text + "\n").find("\n<|endoftext|>") != std::string::npos) continue;
    EXPECT_EQ(documents_of({folder.write("a", text)}), Documents{text});
  }
}

TEST(TextInput, ReadsFoldersInTheOrderOfPathsWithoutHiddenFiles) {
  TemporaryFolder folder;
  folder.write("in/b.txt", "b");
  folder.write("in/a/z.md", "z");
  folder.write("in/a/.hidden", "h");
  folder.write("in/.git/x", "h");
  folder.write("in/c.jsonl", "{\"text\": \"one\"}\n\n{\"text\": \"\", \"k\": 1}\r\n{\"text\": \"t\\nwo\"}");
  EXPECT_EQ(documents_of({folder / "in", folder / "in/b.txt"}), (Documents{"z", "b", "one", "t\nwo", "b"}));
}

TEST(TextInput, NamesTheLineOfABadRecord) {
  TemporaryFolder folder;
  for (const std::string bad : {"{", "[1]", "{\"text\": 3}", "{\"body\": \"x\"}", "\"x\"", "{\"text\": \"\xFF\"}"}) {
    const auto path = folder.write("a.jsonl", "{\"text\": \"fine\"}\n" + bad + "\n");
    try {
      documents_of({path});
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr("line 2 of " + path));
    }
  }
}

TEST(TextInput, RefusesWhatItCannotRead) {
  TemporaryFolder folder;
  EXPECT_THROW(documents_of({folder / "missing"}), Error);
  EXPECT_THROW(documents_of({folder.path()}), Error);
  EXPECT_THROW(documents_of({folder.write("a.jsonl.zst", "x")}), Error);
  EXPECT_THROW(documents_of({folder.path()}), Error);
  EXPECT_THROW(documents_of({"/proc/self/mem"}), RuntimeFailure);
}

TEST(TextInput, ReadsCompressedFilesAndStandardInput) {
  TemporaryFolder folder;
  const std::string records = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
  folder.write("in/a.jsonl.gz", testing::gzip(records));
  folder.write("in/b.jsonl.zst", testing::zstd(records));
  folder.write("in/c.txt.gz", testing::gzip("a\n<|endoftext|>\nb"));
  EXPECT_EQ(documents_of({folder / "in"}), (Documents{"one", "two", "one", "two", "a", "b"}));
  EXPECT_EQ(documents_of({"-"}, testing::zstd("a\n<|endoftext|>\nb")), (Documents{"a", "b"}));
}

TEST(TextInput, CountsWhatItHasRead) {
  TemporaryFolder folder;
  std::istringstream stream;
  TextInput input({folder.write("a.txt", "a\nb"), folder.write("b.txt", "cde")}, stream);
  EXPECT_EQ(input.bytes(), 6);
  for (std::string document; input.next(document);) continue;
  EXPECT_EQ(input.bytes_read(), 6);
}

}  // namespace
}  // namespace dlcm
