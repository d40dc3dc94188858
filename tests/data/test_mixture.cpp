// Facts about mixtures: their file, the shares of their sources and the order of their windows.
#include "dlcm/data/build.h"
#include "dlcm/data/mixture.h"
#include "dlcm/util/error.h"
#include "tests/data/joined.h"
#include "tests/tokenizer/training_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <sstream>

namespace dlcm {
namespace {

using ::testing::HasSubstr;
using testing::Joined;
using testing::numbers;
using testing::TemporaryFolder;

constexpr int64_t kContext = 8;

// A data directory of documents that begin with `letter`; every byte is a token.
void make_source(const TemporaryFolder& folder, const std::string& name, char letter, int documents) {
  std::string text;
  for (int index = 0; index < documents; ++index) {
    text += std::string(1, letter) + std::to_string(index) + std::string(static_cast<size_t>(index % 13), letter) +
            "\n<|endoftext|>\n";
  }
  std::istringstream none;
  build_data({.tokenizer = "bytes",
              .inputs = {folder.write(name + ".txt", text)},
              .validation_fraction = 0.2,
              .output = folder / name},
             none);
}

// Sources a, b, c, d of 400, 300, 200 and 100 documents with the given weights.
std::string make_mixture(const TemporaryFolder& folder, const std::vector<double>& weights) {
  std::string file;
  for (size_t index = 0; index < weights.size(); ++index) {
    const auto letter = static_cast<char>('a' + index);
    if (!std::filesystem::exists(folder / std::string(1, letter))) {
      make_source(folder, std::string(1, letter), letter, 400 - 100 * static_cast<int>(index));
    }
    file += fmt::format("[[source]]\ndata = \"{}\"\nweight = {}\n", letter, weights[index]);
  }
  return folder.write("mixture.toml", file);
}

const std::vector<double> kPaper{0.5, 0.25, 0.15, 0.10};

// Which source each window of a batch is of: its documents hold the source's letter, or at least no other's.
std::vector<int64_t> sources_of(const Batch& batch, int64_t num_sources) {
  std::vector<int64_t> sources;
  const auto token = numbers(batch.token_T);
  for (size_t begin = 0; begin < token.size(); begin += kContext) {
    int64_t source = -1;
    for (size_t row = begin; row < begin + kContext; ++row) {
      const int64_t letter = token[row] - 'a';
      if (letter >= 0 && letter < num_sources) {
        EXPECT_TRUE(source == -1 || source == letter) << "a window of two sources";
        source = letter;
      }
    }
    sources.push_back(source);
  }
  return sources;
}

TEST(Mixture, ReadsItsFile) {
  TemporaryFolder folder;
  const auto path =
      folder.write("sub/mix.toml",
                   "[[source]]\nname = \"English web\"\ndata = \"../a\"\nweight = 2\n"
                   "[[source]]\ndata = \"b/\"\nweight = 0.5\n[[source]]\ndata = \"/abs/c\"\nweight = 1\n");
  const auto entries = read_mixture_file(path);
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].name, "English web");
  EXPECT_EQ(entries[0].directory, folder / "a");
  EXPECT_EQ(entries[0].weight, 2.0);
  EXPECT_EQ(entries[1].name, "b");
  EXPECT_EQ(entries[1].directory, folder / "sub/b");
  EXPECT_EQ(entries[2].directory, "/abs/c");
}

TEST(Mixture, RefusesABadFileWithItsLine) {
  TemporaryFolder folder;
  const auto refusal = [&](const std::string& content) -> std::string {
    try {
      read_mixture_file(folder.write("m.toml", content));
      return "none";
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_status(), 2);
      return error.what();
    }
  };
  EXPECT_THAT(refusal("[[source]\n"), HasSubstr("m.toml:1: not valid TOML"));
  EXPECT_THAT(refusal(""), HasSubstr("[[source]]"));
  EXPECT_THAT(refusal("source = 3\n"), HasSubstr("[[source]]"));
  EXPECT_THAT(refusal("source = [3]\n"), HasSubstr("m.toml:1: source expects a table"));
  EXPECT_THAT(refusal("sources = 3\n"), HasSubstr("m.toml:1: unknown key sources; the nearest known one is source"));
  EXPECT_THAT(refusal("[[source]]\ndata = \"a\"\nwieght = 1\n"),
              HasSubstr("m.toml:3: unknown key wieght; the nearest known one is weight"));
  EXPECT_THAT(refusal("[[source]]\nweight = 1\n"), HasSubstr("m.toml:1: expected data"));
  EXPECT_THAT(refusal("[[source]]\ndata = 3\nweight = 1\n"), HasSubstr("m.toml:2: data expects"));
  for (const std::string weight : {"0", "-1", "nan", "inf", "\"much\""}) {
    EXPECT_THAT(refusal("[[source]]\ndata = \"a\"\nweight = " + weight + "\n"), HasSubstr("weight above 0 for a"))
        << weight;
  }
  EXPECT_THAT(refusal("[[source]]\ndata = \"a\"\n"), HasSubstr("found none"));
  EXPECT_THAT(refusal("[[source]]\ndata = \"x/a\"\nweight = 1\n[[source]]\ndata = \"y/a\"\nweight = 1\n"),
              HasSubstr("a twice"));
}

TEST(Mixture, RefusesSourcesOfTwoTokenizers) {
  TemporaryFolder folder;
  const auto path = make_mixture(folder, {1, 1});
  EXPECT_EQ(Mixture(path, Split::train).sources().size(), 2u);
  folder.write("b/tokenizer", "another");
  EXPECT_THROW(Mixture(path, Split::train), Error);
}

TEST(Mixture, HashTellsContentSharesAndOrderApart) {
  TemporaryFolder folder;
  const auto hash_of = [&](const std::vector<double>& weights) {
    return Mixture(make_mixture(folder, weights), Split::train).hash();
  };
  const auto hash = hash_of({1, 2});
  EXPECT_EQ(hash_of({2, 4}), hash) << "only shares count";
  EXPECT_NE(hash_of({1, 3}), hash);
  EXPECT_NE(hash_of({2, 1}), hash);
  EXPECT_EQ(Mixture(folder / "a", Split::train).hash(), Dataset(folder / "a", Split::train).hash());
}

TEST(MixedWindows, GiveEverySourceItsShareAtEveryPosition) {
  TemporaryFolder folder;
  for (const auto& weights : {kPaper, {1, 1, 1, 1}, {1000, 1, 1, 1}, {0.001, 3, 0.4, 7}, {5}}) {
    const Mixture mixture(make_mixture(folder, weights), Split::train);
    const MixedWindows windows(mixture, 3, kContext);
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    const auto num_sources = static_cast<int64_t>(weights.size());
    const auto sources = sources_of(windows.read(0, 4000 * kContext), num_sources);
    std::vector<int64_t> counts(weights.size());
    for (size_t position = 0; position < sources.size(); ++position) {
      ASSERT_GE(sources[position], 0);
      ++counts[static_cast<size_t>(sources[position])];
      for (size_t source = 0; source < weights.size(); ++source) {
        const double wanted = weights[source] / sum * static_cast<double>(position + 1);
        ASSERT_NEAR(static_cast<double>(counts[source]), wanted, static_cast<double>(num_sources)) << position;
      }
    }
    const auto epochs = windows.epochs(4000 * kContext);
    for (size_t source = 0; source < weights.size(); ++source) {
      EXPECT_DOUBLE_EQ(epochs[source], static_cast<double>(counts[source] * kContext) /
                                           static_cast<double>(mixture.sources()[source].data.tokens()));
    }
  }
}

TEST(MixedWindows, AreNotForeseenByTheirPosition) {
  TemporaryFolder folder;
  const Mixture mixture(make_mixture(folder, {1, 1}), Split::train);
  const auto sources = sources_of(MixedWindows(mixture, 3, kContext).read(0, 4000 * kContext), 2);
  int changes = 0;
  for (size_t position = 1; position < sources.size(); ++position)
    changes += sources[position] != sources[position - 1];
  // Strict turns would change every time, coin tosses half the time.
  EXPECT_GT(changes, 2000);
  EXPECT_LT(changes, 3600);
}

TEST(MixedWindows, ArePureInSeedAndPositionWhateverTheMicroBatches) {
  TemporaryFolder folder;
  const auto path = make_mixture(folder, kPaper);
  const Mixture mixture(path, Split::train), reopened(path, Split::train);
  const MixedWindows windows(mixture, 9, kContext);
  std::mt19937 random(5);
  for (int round = 0; round < 40; ++round) {
    const auto first = static_cast<int64_t>(random() % 20000), count = static_cast<int64_t>(1 + random() % 60);
    Joined whole, parts, other_seed;
    whole.add(windows.read(first * kContext, count * kContext));
    const MixedWindows fresh(reopened, 9, kContext);
    for (int64_t begin = 0; begin < count;) {
      const int64_t end = std::min(count, begin + 1 + static_cast<int64_t>(random() % 9));
      parts.add(fresh.read((first + begin) * kContext, (end - begin) * kContext));
      begin = end;
    }
    EXPECT_TRUE(whole == parts);
    other_seed.add(MixedWindows(reopened, 10, kContext).read(first * kContext, count * kContext));
    EXPECT_FALSE(count > 3 && whole == other_seed);
    EXPECT_EQ(windows.targets(first * kContext, count * kContext),
              std::count_if(whole.target.begin(), whole.target.end(), [](int64_t id) { return id >= 0; }));
  }
  EXPECT_THROW(windows.read(3, kContext), c10::Error);
  EXPECT_THROW(windows.read(0, kContext + 1), c10::Error);
  EXPECT_THROW(windows.read(0, 0), c10::Error);
}

TEST(MixedWindows, KeepEachSourcesOwnOrder) {
  TemporaryFolder folder;
  const Mixture mixture(make_mixture(folder, kPaper), Split::train), alone(folder / "a", Split::train);
  const Batch batch = MixedWindows(mixture, 4, kContext).read(0, 3000 * kContext);
  const ShuffledWindows own(alone.sources()[0].data, 4, kContext);
  const auto sources = sources_of(batch, 4);
  int64_t number = 0;
  for (size_t position = 0; position < sources.size(); ++position) {
    if (sources[position] != 0) continue;
    const auto tokens = batch.token_T.narrow(0, static_cast<int64_t>(position) * kContext, kContext);
    ASSERT_TRUE(at::equal(tokens, own.window(number++).token_T));
  }
  EXPECT_NEAR(static_cast<double>(number), 1500, 5);
}

TEST(MixedWindows, OfADirectoryAreItsShuffledWindows) {
  TemporaryFolder folder;
  make_mixture(folder, kPaper);
  const Mixture mixture(folder / "b", Split::train);
  const MixedWindows windows(mixture, 4, kContext);
  const ShuffledWindows plain(mixture.sources()[0].data, 4, kContext);
  for (int64_t position = 0; position < 2000; position += 7) {
    EXPECT_TRUE(at::equal(windows.read(position * kContext, kContext).token_T, plain.window(position).token_T));
  }
}

TEST(MixedWindows, AreFoundFarAwayAtOnce) {
  TemporaryFolder folder;
  const Mixture mixture(make_mixture(folder, kPaper), Split::train);
  const MixedWindows windows(mixture, 4, kContext);
  const int64_t far = int64_t{1} << 40;  // windows
  const auto epochs = windows.epochs(far * kContext);
  for (size_t source = 0; source < kPaper.size(); ++source) {
    const double tokens = epochs[source] * static_cast<double>(mixture.sources()[source].data.tokens());
    EXPECT_NEAR(tokens / kContext / static_cast<double>(far), kPaper[source], 1e-11);
  }
  Joined whole, parts;
  whole.add(windows.read(far * kContext, 20 * kContext));
  for (int64_t number = 0; number < 20; ++number) parts.add(windows.read((far + number) * kContext, kContext));
  EXPECT_TRUE(whole == parts);
}

TEST(Mixture, ValidatesOnEverySourceByItsShare) {
  TemporaryFolder folder;
  const Mixture mixture(make_mixture(folder, {3, 1}), Split::valid);
  const auto batches = validation_batches(mixture, kContext, 64, 400);
  std::vector<int64_t> tokens(2);
  for (const Batch& batch : batches) {
    const auto ids = numbers(batch.token_T);
    const bool is_first = std::find(ids.begin(), ids.end(), 'a') != ids.end();
    tokens[is_first ? 0 : 1] += batch.tokens();
  }
  EXPECT_EQ(tokens, (std::vector<int64_t>{300, 100}));
}

}  // namespace
}  // namespace dlcm
