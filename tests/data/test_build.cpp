// Facts about building a data directory.
#include "dlcm/data/build.h"
#include "dlcm/data/dataset.h"
#include "dlcm/data/shard.h"
#include "dlcm/io/files.h"
#include "dlcm/tokenizer/train.h"
#include "dlcm/util/error.h"
#include "tests/support/compress.h"
#include "tests/tokenizer/training_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
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
  for (const double fraction : {1e-12, 0.5, 0.999999}) {
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
  EXPECT_THAT(refusal({.inputs = {folder.write("b.jsonl.zst", "x")}, .output = data}), HasSubstr("zstd"));
  EXPECT_THAT(refusal({.inputs = {folder.write("c.json.gz", "x")}, .output = data}), HasSubstr("--format"));
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

TEST(DataBuild, ReadsTheFieldsThatAreNamedAndCountsByLabel) {
  TemporaryFolder folder;
  const auto input = folder.write("a.jsonl",
                                  "{\"body\": \"abc\", \"source\": \"web\"}\n"
                                  "{\"body\": \"\", \"source\": \"web\"}\n"
                                  "{\"body\": \"de\", \"source\": \"code\"}\n"
                                  "{\"source\": \"web\", \"text\": 1, \"body\": \"f\"}\n");
  const DataBuild request{.inputs = {input},
                          .validation_fraction = 0,
                          .output = folder / "data",
                          .fields = {.text = "body", .domain = "source"}};
  const auto summary = build(request);
  EXPECT_EQ(texts_of(folder / "data", Split::train), (std::vector<std::string>{"abc", "de", "f"}));
  EXPECT_EQ(summary.documents_empty, 1);
  ASSERT_EQ(summary.train_domains.size(), 2u);
  EXPECT_EQ(summary.train_domains.at("web").documents, 2);
  EXPECT_EQ(summary.train_domains.at("web").bytes, 4);
  EXPECT_EQ(summary.train_domains.at("code").tokens, 4);
  const auto statistics = nlohmann::json::parse(read_file(folder / "data/statistics.json"));
  EXPECT_EQ(statistics["train"]["domains"]["web"]["documents"], 2);
  EXPECT_EQ(statistics["train"]["tokens"], 12);
  EXPECT_EQ(statistics, nlohmann::json(as_json(summary)));
}

TEST(DataBuild, RefusesAFieldOfTooManyLabels) {
  TemporaryFolder folder;
  std::string lines;
  for (int index = 0; index < 5000; ++index) lines += fmt::format("{{\"text\": \"a\", \"id\": \"{}\"}}\n", index);
  EXPECT_THAT(refusal({.inputs = {folder.write("a.jsonl", lines)},
                       .validation_fraction = 0,
                       .output = folder / "data",
                       .fields = {.domain = "id"}}),
              HasSubstr("line 4097"));
}

TEST(DataBuild, DropsDuplicatesOnRequestAndKeepsTheFirst) {
  std::mt19937 random(3);
  std::vector<std::string> texts, first;
  for (int index = 0; index < 3000; ++index) {
    texts.push_back("text " + std::to_string(random() % 1000));
    if (std::find(first.begin(), first.end(), texts.back()) == first.end()) first.push_back(texts.back());
  }
  TemporaryFolder folder;
  const auto input = folder.write("a", joined(texts));
  const auto all = build({.inputs = {input}, .validation_fraction = 0, .output = folder / "all"});
  EXPECT_EQ(all.train.documents, 3000);
  const auto unique =
      build({.inputs = {input, input}, .validation_fraction = 0, .output = folder / "unique", .drop_duplicates = true});
  EXPECT_EQ(texts_of(folder / "unique", Split::train), first);
  EXPECT_EQ(unique.documents_duplicate, 6000 - static_cast<int64_t>(first.size()));
  const auto given = build({.inputs = {folder.write("b", joined({"one", "two"}))},
                            .validation = {folder.write("c", joined({"two", "three", "three"}))},
                            .output = folder / "given",
                            .drop_duplicates = true});
  EXPECT_EQ(texts_of(folder / "given", Split::valid), std::vector<std::string>{"three"})
      << "what training holds is seen";
  EXPECT_EQ(given.documents_duplicate, 2);
}

TEST(DataBuild, WritesTheSameWhateverTheThreads) {
  TemporaryFolder folder;
  std::string lines;
  for (int index = 0; index < 3000; ++index) {
    lines +=
        nlohmann::json{{"text", testing::made_up_text(1 + index % 20, static_cast<unsigned>(index))}}.dump() + "\n";
  }
  const auto input = folder.write("a.jsonl", lines);
  std::string first;
  for (const int64_t threads : {1, 2, 7}) {
    const auto output = folder / std::to_string(threads);
    build({.inputs = {input}, .output = output, .threads = threads, .shard_tokens = 100000});
    const auto hash = Dataset(output, Split::train).hash() + Dataset(output, Split::valid).hash();
    if (first.empty()) first = hash;
    EXPECT_EQ(hash, first);
  }
}

TEST(DataBuild, LeavesOutAndCountsWhatIsBadOnRequest) {
  TemporaryFolder folder;
  std::string many;
  for (int index = 0; index < 20000; ++index) many += fmt::format("{{\"text\": \"record {}\"}}\n", index);
  const auto compressed = testing::gzip(many);
  const std::vector<std::string> inputs{
      folder.write("a.jsonl",
                   "{\"text\": \"good\"}\nno json\n{\"text\": 7}\n{\"body\": \"b\"}\n[1]\n{\"text\": \"\xFF\"}\n"
                   "{\"text\": \"" +
                       std::string(2000, 'x') + "\"}\n{\"text\": \"last\"}\n{\"text\": \"cut"),
      folder.write("b.jsonl.gz", compressed.substr(0, compressed.size() - 1000)),
      folder.write("c.txt", std::string("\xFF\xFE"
                                        "a\0",
                                        4)),
      "/proc/self/mem",
      folder.write("latin.txt", "caf\xE9"),
      folder.write("z.txt", "end")};
  const DataBuild request{.inputs = inputs,
                          .validation_fraction = 0,
                          .output = folder / "data",
                          .rules = {.longest_record_bytes = 1000},
                          .skip_bad = true};
  const auto summary = build(request);
  const std::map<InputFault, int64_t> expected{{InputFault::not_json, 3},   {InputFault::wrong_field, 3},
                                               {InputFault::too_long, 1},   {InputFault::damaged_file, 1},
                                               {InputFault::utf16_file, 1}, {InputFault::unreadable_file, 1}};
  EXPECT_EQ(summary.faults, expected);
  EXPECT_EQ(summary.documents_not_utf8, 1);
  const auto texts = texts_of(folder / "data", Split::train);
  EXPECT_EQ(texts[0], "good");
  EXPECT_EQ(texts[1], "last");
  EXPECT_EQ(texts[2], "record 0");
  EXPECT_EQ(texts[texts.size() - 2], "caf\xE9");
  EXPECT_EQ(texts.back(), "end");
  EXPECT_GT(texts.size(), 10000u);

  std::istringstream problems(read_file(folder / "data/problems.jsonl"));
  std::vector<std::string> places;
  for (std::string line; std::getline(problems, line);) {
    const auto problem = nlohmann::json::parse(line);
    const std::string file = problem["file"];
    places.push_back(fmt::format("{}:{} {}", file.substr(file.rfind('/') + 1), problem["line"].get<int64_t>(),
                                 problem["problem"].get<std::string>()));
  }
  EXPECT_EQ(places,
            (std::vector<std::string>{"a.jsonl:2 not_json", "a.jsonl:3 wrong_field", "a.jsonl:4 wrong_field",
                                      "a.jsonl:5 wrong_field", "a.jsonl:6 not_json", "a.jsonl:7 too_long",
                                      "a.jsonl:9 not_json", fmt::format("b.jsonl.gz:{} damaged_file", texts.size() - 3),
                                      "c.txt:1 utf16_file", "mem:1 unreadable_file", "latin.txt:1 not_utf8_kept"}));
}

TEST(DataBuild, NamesFileAndLineAndTheWayOutOfWhatItRefuses) {
  TemporaryFolder folder;
  const auto refusal_of = [&](const std::string& name, const std::string& content) {
    return refusal(
        {.inputs = {folder.write(name, content)}, .output = folder / "data", .rules = {.longest_record_bytes = 50}});
  };
  const std::string good = "{\"text\": \"good\"}\n";
  EXPECT_THAT(refusal_of("a.jsonl", good + "{\"text\": }\n"), HasSubstr("line 2 of " + (folder / "a.jsonl")));
  EXPECT_THAT(refusal_of("a.jsonl", good + "{\"text\": 1}\n"), HasSubstr("a number in the field \"text\""));
  EXPECT_THAT(refusal_of("a.jsonl", good + good + std::string(99, 'x')),
              HasSubstr("line 3 of " + (folder / "a.jsonl")));
  EXPECT_THAT(refusal_of("a.jsonl", good + good + std::string(99, 'x')), HasSubstr("--longest-document"));
  EXPECT_THAT(refusal_of("a.jsonl", std::string("\xFF\xFE{\0", 4)), HasSubstr("iconv"));
  EXPECT_THAT(refusal_of("a.jsonl.gz", testing::gzip(good).substr(0, 20)), HasSubstr(folder / "a.jsonl.gz"));
  EXPECT_THAT(refusal_of("a.jsonl", "7"), HasSubstr("--skip-bad"));
  EXPECT_FALSE(std::filesystem::exists(folder / "data.partial"));
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
