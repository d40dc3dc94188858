// Facts about building a data directory.
#include "dlcm/data/build.h"
#include "dlcm/data/dataset.h"
#include "dlcm/data/shard.h"
#include "dlcm/io/files.h"
#include "dlcm/tokenizer/train.h"
#include "dlcm/util/error.h"
#include "tests/tokenizer/training_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>

namespace dlcm {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryFolder;

DataSummary build(DataBuild build, const std::string& standard_input = "") {
  if (build.tokenizer.empty()) build.tokenizer = "bytes";
  std::istringstream input(standard_input);
  return build_data(build, input);
}

std::string refusal(const DataBuild& request, const std::string& standard_input = "") {
  try {
    build(request, standard_input);
    return "";
  } catch (const RuntimeFailure& failure) {
    return std::string("unexpected: ") + failure.what();
  } catch (const Error& error) {
    return error.what();
  }
}

std::vector<std::string> texts_of(const std::string& directory, Split split) {
  const Dataset dataset(directory, split);
  std::vector<std::string> texts;
  for (int64_t index = 0; index < dataset.documents(); ++index) {
    texts.push_back(dataset.tokenizer()->decode(dataset.document(index)));
  }
  return texts;
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const auto& text : texts) all += text + "\n<|endoftext|>\n";
  return all;
}

std::vector<std::string> numbered_texts(int count) {
  std::vector<std::string> texts;
  for (int index = 0; index < count; ++index) texts.push_back("document " + std::to_string(index));
  return texts;
}

TEST(DataBuild, CountsWhatItWrote) {
  TemporaryFolder folder;
  const auto summary = build({.inputs = {"-"}, .validation_fraction = 0, .output = folder / "data"},
                             joined({"abc", "", "\xFF", "<|endoftext|> inside"}));
  EXPECT_EQ(summary.train.documents, 3);
  EXPECT_EQ(summary.train.bytes, 24);
  EXPECT_EQ(summary.train.tokens, 30);
  EXPECT_DOUBLE_EQ(summary.train.bytes_per_token(), 1.0);
  EXPECT_EQ(summary.valid.documents, 0);
  EXPECT_EQ(summary.documents_not_utf8, 1);
  EXPECT_EQ(texts_of(folder / "data", Split::train), (std::vector<std::string>{"abc", "\xFF", "<|endoftext|> inside"}));
  EXPECT_FALSE(std::filesystem::exists(folder / "data.partial"));
}

TEST(DataBuild, KeepsAllBytesWithATrainedTokenizer) {
  TemporaryFolder folder;
  std::mt19937 random(3);
  std::vector<std::string> texts;
  for (int index = 0; index < 60; ++index) {
    texts.push_back(testing::made_up_text(2, random()) + testing::hostile_text(random) + "x");
    if (("\n" + texts.back() + "\n").find("\n<|endoftext|>") != std::string::npos) texts.pop_back();
  }
  const auto input = folder.write("in.txt", joined(texts));
  const auto model = folder.write("t.model", train_tokenizer({.inputs = {input}, .vocabulary = 400}));
  const auto summary =
      build({.tokenizer = model, .inputs = {input}, .validation_fraction = 0, .output = folder / "data"});
  EXPECT_EQ(texts_of(folder / "data", Split::train), texts);
  EXPECT_GT(summary.train.bytes_per_token(), 1.2);
  EXPECT_EQ(Dataset(folder / "data", Split::train).tokenizer()->hash(), load_tokenizer(model)->hash());
}

TEST(DataBuild, BeginsShardsInOrder) {
  TemporaryFolder folder;
  const auto texts = numbered_texts(200);
  build({.inputs = {"-"}, .validation_fraction = 0, .output = folder / "data", .domain = "web", .shard_tokens = 100},
        joined(texts));
  EXPECT_EQ(texts_of(folder / "data", Split::train), texts);
  const Shard second(folder / "data/train-00001.shard");
  EXPECT_EQ(second.header().domain, "web");
  EXPECT_FALSE(second.header().last);
  EXPECT_GE(second.header().tokens, 100);
  EXPECT_EQ(second.header().text_bytes, second.header().tokens - 2 * second.header().documents);
}

TEST(DataBuild, SetsDocumentsAsideWhateverTheirOrder) {
  auto texts = numbered_texts(1000);
  std::vector<std::string> first;
  std::mt19937 random(5);
  for (int round = 0; round < 3; ++round) {
    TemporaryFolder folder;
    std::shuffle(texts.begin(), texts.end(), random);
    build({.inputs = {"-"}, .validation_fraction = 0.1, .output = folder / "data"}, joined(texts));
    auto valid = texts_of(folder / "data", Split::valid), train = texts_of(folder / "data", Split::train);
    EXPECT_NEAR(static_cast<double>(valid.size()), 100, 40);
    std::sort(valid.begin(), valid.end());
    if (first.empty()) first = valid;
    EXPECT_EQ(valid, first);
    std::multiset<std::string> all(train.begin(), train.end());
    all.insert(valid.begin(), valid.end());
    EXPECT_TRUE(all == std::multiset<std::string>(texts.begin(), texts.end()));
  }
}

TEST(DataBuild, LeavesNeitherSplitEmptyOfTwoDocuments) {
  std::mt19937 random(7);
  for (const double fraction : {1e-12, 0.01, 0.5, 0.999999}) {
    for (int count = 2; count < 6; ++count) {
      std::set<std::string> valid_found;
      for (int round = 0; round < 4; ++round) {
        TemporaryFolder folder;
        auto texts = numbered_texts(count);
        std::shuffle(texts.begin(), texts.end(), random);
        const auto summary =
            build({.inputs = {"-"}, .validation_fraction = fraction, .output = folder / "data"}, joined(texts));
        EXPECT_GE(summary.train.documents, 1);
        EXPECT_GE(summary.valid.documents, 1);
        EXPECT_EQ(summary.train.documents + summary.valid.documents, count);
        auto valid = texts_of(folder / "data", Split::valid);
        std::sort(valid.begin(), valid.end());
        valid_found.insert(joined(valid));
      }
      EXPECT_LE(valid_found.size(), 1u) << "the choice depends on the order";
    }
  }
}

TEST(DataBuild, GivesTheEndOfASingleDocumentToValidation) {
  std::string text;
  while (text.size() < 1000) text += std::to_string(text.size()) + " ";
  for (const double fraction : {0.01, 0.5, 0.99}) {
    TemporaryFolder folder;
    const auto summary = build({.inputs = {"-"}, .validation_fraction = fraction, .output = folder / "data"}, text);
    EXPECT_EQ(summary.train.documents, 1);
    EXPECT_EQ(summary.valid.documents, 1);
    const auto train = texts_of(folder / "data", Split::train), valid = texts_of(folder / "data", Split::valid);
    EXPECT_EQ(train.at(0) + valid.at(0), text);
    EXPECT_EQ(summary.train.bytes, static_cast<int64_t>(train[0].size()));
    EXPECT_EQ(summary.valid.bytes, static_cast<int64_t>(valid[0].size()));
    EXPECT_GE(valid[0].size(), text.size() / 10);
    EXPECT_FALSE(train[0].empty());
  }
  for (const std::string whole : {"a few", "x"}) {
    TemporaryFolder folder;
    const auto summary = build({.inputs = {"-"}, .output = folder / "data"}, whole);
    EXPECT_EQ(summary.valid.documents, 0);
    EXPECT_EQ(texts_of(folder / "data", Split::train), std::vector<std::string>{whole});
    EXPECT_THROW(Dataset(folder / "data", Split::valid), Error);
  }
  TemporaryFolder folder;
  EXPECT_EQ(build({.inputs = {"-"}, .validation_fraction = 0, .output = folder / "data"}, text).valid.documents, 0);
}

TEST(DataBuild, TakesValidationTextThatIsGiven) {
  TemporaryFolder folder;
  build({.inputs = {folder.write("a", joined({"one", "two"}))},
         .validation = {folder.write("b", joined({"three"}))},
         .output = folder / "data"});
  EXPECT_EQ(texts_of(folder / "data", Split::train), (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(texts_of(folder / "data", Split::valid), (std::vector<std::string>{"three"}));
}

TEST(DataBuild, WritesEqualFilesForEqualInput) {
  TemporaryFolder folder;
  const auto input = folder.write("a", joined(numbered_texts(500)));
  for (const std::string name : {"one", "two"})
    build({.inputs = {input}, .output = folder / name, .shard_tokens = 999});
  for (const auto& entry : std::filesystem::directory_iterator(folder / "one")) {
    EXPECT_EQ(read_file(entry.path().string()), read_file((folder / "two/") + entry.path().filename().string()));
  }
}

TEST(DataBuild, RefusesBadInputAndWritesNothing) {
  TemporaryFolder folder;
  const std::string data = folder / "data";
  const auto some = folder.write("in/a.txt", "some text");
  std::filesystem::create_directories(folder / "empty");
  EXPECT_THAT(refusal({.inputs = {folder / "missing"}, .output = data}), HasSubstr("missing"));
  EXPECT_THAT(refusal({.inputs = {folder / "empty"}, .output = data}), HasSubstr("empty"));
  EXPECT_THAT(refusal({.inputs = {folder.write("void", "")}, .output = data}), HasSubstr("expected text"));
  EXPECT_THAT(refusal({.inputs = {"-"}, .output = data}), HasSubstr("expected text"));
  EXPECT_THAT(refusal({.inputs = {"-"}, .output = data}, "<|endoftext|>\n<|endoftext|>"), HasSubstr("expected text"));
  EXPECT_THAT(refusal({.inputs = {some}, .validation = {folder / "void"}, .output = data}), HasSubstr("void"));
  EXPECT_THAT(refusal({.inputs = {some, folder.write("b.jsonl", "{}")}, .output = data}), HasSubstr("line 1"));
  EXPECT_THAT(refusal({.inputs = {folder.write("b.jsonl.zst", "x")}, .output = data}), HasSubstr("compressed"));
  EXPECT_THAT(refusal({.inputs = {some}, .validation_fraction = 1, .output = data}), HasSubstr("fraction"));
  EXPECT_THAT(refusal({.inputs = {some}, .validation_fraction = -0.1, .output = data}), HasSubstr("fraction"));
  EXPECT_THAT(refusal({.inputs = {some}, .validation_fraction = std::nan(""), .output = data}), HasSubstr("fraction"));
  EXPECT_THAT(refusal({.inputs = {some}, .output = data, .domain = std::string(105, 'x')}), HasSubstr("domain"));
  EXPECT_THAT(refusal({.tokenizer = some, .inputs = {some}, .output = data}), HasSubstr("SentencePiece"));
  // Here training shards have been written when the bad line is found.
  EXPECT_THAT(refusal({.inputs = {folder.write("two", joined({"one", "two"}))},
                       .validation = {folder / "b.jsonl"},
                       .output = data,
                       .shard_tokens = 1}),
              HasSubstr("line 1"));
  EXPECT_FALSE(std::filesystem::exists(data));
  EXPECT_FALSE(std::filesystem::exists(data + ".partial"));
}

TEST(DataBuild, RefusesAFolderThatHoldsSomething) {
  TemporaryFolder folder;
  const auto some = folder.write("in.txt", "some text");
  folder.write("data/keep", "x");
  EXPECT_THAT(refusal({.inputs = {some}, .output = folder / "data"}), HasSubstr("--output"));
  EXPECT_THAT(refusal({.inputs = {some}, .output = some}), HasSubstr("--output"));
  EXPECT_EQ(read_file(folder / "data/keep"), "x");
  std::filesystem::create_directories(folder / "free");
  EXPECT_EQ(refusal({.inputs = {some}, .output = folder / "free/"}), "");
  EXPECT_EQ(texts_of(folder / "free", Split::train), std::vector<std::string>{"some text"});
}

TEST(DataBuild, CleansUpAfterAnInterruptedBuildOnly) {
  TemporaryFolder folder;
  const auto some = folder.write("in.txt", "some text");
  folder.write("data.partial/train-00007.shard.partial", "half");
  EXPECT_EQ(refusal({.inputs = {some}, .output = folder / "data"}), "");
  EXPECT_FALSE(std::filesystem::exists(folder / "data/train-00007.shard.partial"));
  folder.write("other.partial/thesis.txt", "mine");
  EXPECT_THAT(refusal({.inputs = {some}, .output = folder / "other"}), HasSubstr("thesis.txt"));
  EXPECT_EQ(read_file(folder / "other.partial/thesis.txt"), "mine");
}

}  // namespace
}  // namespace dlcm
