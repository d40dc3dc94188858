// Facts about shards, the order of training and the packing of micro-batches.
#include "dlcm/data/build.h"
#include "dlcm/data/dataset.h"
#include "dlcm/data/shard.h"
#include "dlcm/io/files.h"
#include "dlcm/io/hash.h"
#include "dlcm/util/error.h"
#include "tests/data/joined.h"
#include "tests/tokenizer/training_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <sstream>

namespace dlcm {
namespace {

using ::testing::HasSubstr;
using testing::Joined;
using testing::numbers;
using testing::TemporaryFolder;

// A whole shard's bytes, of ids and offsets that need not fit together.
std::string shard_content(ShardHeader header, const std::vector<int32_t>& ids, const std::vector<int64_t>& offsets) {
  std::string payload;
  for (const int32_t id : ids)
    payload.append(reinterpret_cast<const char*>(&id), static_cast<size_t>(header.token_bytes()));
  payload.resize(static_cast<size_t>(stored_ids_bytes(header, static_cast<int64_t>(ids.size()))));
  payload.append(reinterpret_cast<const char*>(offsets.data()), offsets.size() * sizeof(int64_t));
  header.documents = static_cast<int64_t>(offsets.size()) - 1;
  header.tokens = static_cast<int64_t>(ids.size());
  header.payload_hash = hash_bytes(payload);
  return shard_header(header) + payload;
}

// A data directory of `documents` documents whose text is their number, repeated to a length of up to `longest`.
std::string make_data(const TemporaryFolder& folder, int documents, int longest, int64_t shard_tokens = 200,
                      unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string text;
  for (int index = 0; index < documents; ++index) {
    std::string document;
    const size_t length = 1 + random() % static_cast<unsigned>(longest);
    while (document.size() < length) document += std::to_string(index) + ",";
    document.resize(length);
    text += std::string(1, static_cast<char>('A' + index % 26)) + document + "\n<|endoftext|>\n";
  }
  std::istringstream none;
  const std::string output = folder / "data";
  build_data({.tokenizer = "bytes",
              .inputs = {folder.write("in.txt", text)},
              .validation_fraction = 0.05,
              .output = output,
              .shard_tokens = shard_tokens},
             none);
  return output;
}

void expect_invariants(const Batch& batch, const Tokenizer& tokenizer, int64_t context) {
  const auto token = numbers(batch.token_T), target = numbers(batch.target_T);
  const auto& offsets = batch.documents.offsets;
  ASSERT_EQ(offsets.front(), 0);
  ASSERT_EQ(offsets.back(), static_cast<int64_t>(token.size()));
  for (size_t piece = 0; piece + 1 < offsets.size(); ++piece) {
    const int64_t begin = offsets[piece], end = offsets[piece + 1];
    ASSERT_GT(end, begin);
    ASSERT_LE(end - begin, context);
    ASSERT_EQ(begin / context, (end - 1) / context) << "a piece crosses a window's edge";
    for (int64_t row = begin; row < end; ++row) {
      const auto at = static_cast<size_t>(row);
      ASSERT_EQ(batch.documents.position_T[row].item<int64_t>(), row - begin);
      if (token[at] == tokenizer.end_of_text()) {
        ASSERT_EQ(target[at], -1);
        ASSERT_EQ(row, end - 1);
      } else {
        ASSERT_GE(target[at], 0);
        if (row + 1 < end) {
          ASSERT_EQ(target[at], token[at + 1]);
        }
      }
    }
  }
}

TEST(Dataset, GivesBackTheDocuments) {
  TemporaryFolder folder;
  std::istringstream none;
  const std::vector<std::string> texts{"first", "\xFF\xFE", "third one"};
  std::string all;
  for (const auto& text : texts) all += text + "\n<|endoftext|>\n";
  build_data({.tokenizer = "bytes",
              .inputs = {folder.write("a", all)},
              .validation_fraction = 0,
              .output = folder / "data",
              .shard_tokens = 1},
             none);
  const Dataset dataset(folder / "data", Split::train);
  ASSERT_EQ(dataset.documents(), 3);
  int64_t tokens = 0;
  for (int64_t index = 0; index < 3; ++index) {
    const auto ids = dataset.document(index);
    EXPECT_EQ(ids.front(), dataset.tokenizer()->begin_of_text());
    EXPECT_EQ(ids.back(), dataset.tokenizer()->end_of_text());
    EXPECT_EQ(dataset.tokenizer()->decode(ids), texts[static_cast<size_t>(index)]);
    EXPECT_EQ(dataset.document_length(index), static_cast<int64_t>(ids.size()));
    tokens += dataset.document_length(index);
  }
  EXPECT_EQ(dataset.tokens(), tokens);
  EXPECT_THROW(dataset.document(3), c10::Error);
}

TEST(Dataset, HashTellsContentApart) {
  TemporaryFolder one, same, other;
  EXPECT_EQ(Dataset(make_data(one, 30, 20), Split::train).hash(),
            Dataset(make_data(same, 30, 20), Split::train).hash());
  EXPECT_NE(Dataset(one / "data", Split::train).hash(), Dataset(make_data(other, 30, 20, 200, 2), Split::train).hash());
  EXPECT_NE(Dataset(one / "data", Split::train).hash(), Dataset(one / "data", Split::valid).hash());
}

TEST(Dataset, RefusesMissingPieces) {
  TemporaryFolder folder;
  const std::string data = make_data(folder, 60, 30);
  ASSERT_TRUE(std::filesystem::exists(data + "/train-00002.shard"));
  const auto whole = Dataset(data, Split::train).hash();
  EXPECT_THROW(Dataset(folder / "nowhere", Split::train), Error);
  EXPECT_THROW(Dataset(folder.path(), Split::train), Error);
  std::filesystem::rename(data + "/train-00001.shard", data + "/aside");
  EXPECT_THROW(Dataset(data, Split::train), Error);
  std::filesystem::copy_file(data + "/train-00002.shard", data + "/train-00001.shard");
  EXPECT_THROW(Dataset(data, Split::train), Error);
  std::filesystem::rename(data + "/aside", data + "/train-00001.shard");
  EXPECT_EQ(Dataset(data, Split::train).hash(), whole);
  std::filesystem::remove(data + "/tokenizer");
  EXPECT_THROW(Dataset(data, Split::train), Error);
}

TEST(Dataset, RefusesShardsOfAnotherTokenizer) {
  TemporaryFolder folder;
  const std::string data = make_data(folder, 5, 10);
  const ShardHeader foreign{.last = true, .vocabulary = 258, .tokenizer_hash = std::string(32, 'f')};
  folder.write("data/train-00000.shard", shard_content(foreign, {257, 97, 256}, {0, 3}));
  try {
    Dataset(data, Split::train);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("tokenizer"));
  }
}

TEST(Shard, KeepsWideAndNarrowIds) {
  TemporaryFolder folder;
  for (const int64_t vocabulary : {258, 65536, 65537, 200000}) {
    const std::vector<int32_t> ids{0, 5, static_cast<int32_t>(vocabulary - 1), 7, 1};
    const ShardHeader header{.index = 4,
                             .last = true,
                             .vocabulary = vocabulary,
                             .text_bytes = 77,
                             .tokenizer_hash = std::string(32, 'a'),
                             .domain = "web"};
    const Shard shard(folder.write("s", shard_content(header, ids, {0, 2, 5})));
    EXPECT_EQ(shard.header().token_bytes(), vocabulary <= 65536 ? 2 : 4);
    EXPECT_EQ(shard.header().index, 4);
    EXPECT_TRUE(shard.header().last);
    EXPECT_EQ(shard.header().documents, 2);
    EXPECT_EQ(shard.header().tokens, 5);
    EXPECT_EQ(shard.header().text_bytes, 77);
    EXPECT_EQ(shard.header().domain, "web");
    EXPECT_EQ(shard.header().tokenizer_hash, header.tokenizer_hash);
    EXPECT_EQ(shard.offset(1), 2);
    std::vector<int64_t> copy(5);
    shard.copy(0, 5, copy.data());
    EXPECT_EQ(copy, (std::vector<int64_t>(ids.begin(), ids.end())));
    EXPECT_EQ(shard.id(2), vocabulary - 1);
  }
}

TEST(Shard, RefusesATruncatedOrLongerFile) {
  TemporaryFolder folder;
  make_data(folder, 20, 20, 1 << 20);
  const std::string whole = read_file(folder / "data/train-00000.shard");
  for (size_t length = 0; length < whole.size(); length += length < 300 ? 1 : 7) {
    EXPECT_THROW(Shard(folder.write("s", whole.substr(0, length))), Error) << length;
  }
  EXPECT_THROW(Shard(folder.write("s", whole + "x")), Error);
  EXPECT_THROW(Shard(folder.write("s", whole + whole)), Error);
  EXPECT_EQ(Shard(folder.write("s", whole)).header().documents, 19);
}

TEST(Shard, RefusesAFlippedBitAnywhere) {
  TemporaryFolder folder;
  make_data(folder, 20, 20, 1 << 20);
  const std::string whole = read_file(folder / "data/train-00000.shard");
  std::mt19937 random(3);
  for (size_t position = 0; position < whole.size(); position += position < 256 ? 1 : 1 + random() % 6) {
    std::string damaged = whole;
    damaged[position] = static_cast<char>(damaged[position] ^ 1 << random() % 8);
    EXPECT_THROW(Shard(folder.write("s", damaged)), Error) << position;
  }
}

TEST(Shard, RefusesNumbersThatDoNotFitTheFileEvenWithFittingHashes) {
  TemporaryFolder folder;
  make_data(folder, 20, 20, 1 << 20);
  const std::string whole = read_file(folder / "data/train-00000.shard");
  std::mt19937_64 random(5);
  for (int round = 0; round < 500; ++round) {
    std::string damaged = whole;
    const size_t field = 8 + 4 * (random() % 12);  // version to text_bytes
    uint64_t value = random() >> random() % 64;
    if (field == 48 || field == 52 || field == 16 || field == 20) continue;  // any text_bytes, index and last are fine
    if (damaged.compare(field, 4, std::string(reinterpret_cast<const char*>(&value), 4)) == 0) continue;
    damaged.replace(field, 4, std::string(reinterpret_cast<const char*>(&value), 4));
    damaged.replace(224, 32, hash_bytes(damaged.substr(0, 224)));
    // A vocabulary that is still large enough for the ids is well formed.
    if (field == 40 && static_cast<uint32_t>(value) >= 258 && static_cast<uint32_t>(value) <= 65536) continue;
    EXPECT_THROW(Shard(folder.write("s", damaged)), Error) << "field at " << field << " = " << value;
  }
}

TEST(Shard, RefusesOffsetsAndIdsThatDoNotFitEvenWithFittingHashes) {
  TemporaryFolder folder;
  const ShardHeader header{.last = true, .vocabulary = 258, .tokenizer_hash = std::string(32, 'a')};
  const std::vector<int32_t> ids{257, 97, 256, 257, 98, 256};
  const auto refused = [&](const std::vector<int32_t>& some_ids, const std::vector<int64_t>& offsets) {
    EXPECT_THROW(Shard(folder.write("s", shard_content(header, some_ids, offsets))), Error);
  };
  EXPECT_EQ(Shard(folder.write("s", shard_content(header, ids, {0, 3, 6}))).header().documents, 2);
  refused(ids, {0, 3, 7});
  refused(ids, {1, 3, 6});
  refused(ids, {0, 0, 6});
  refused(ids, {0, 7, 6});
  refused(ids, {0, -1, 6});
  refused(ids, {0});
  refused({257, 258, 256}, {0, 3});
  refused({}, {0});
}

TEST(TokenStream, ReadsWindowsOfPiecesInTheOrderOfTheStream) {
  TemporaryFolder folder;
  const Dataset dataset(make_data(folder, 80, 60), Split::train);
  const TokenStream stream(dataset, 9);
  for (const int64_t context : {1, 2, 7, 16, 64, 1000}) {
    const Batch batch = stream.read(0, dataset.tokens() * 2, context);
    expect_invariants(batch, *dataset.tokenizer(), context);
    EXPECT_EQ(batch.documents.offsets, stream.offsets(0, dataset.tokens() * 2, context));
    EXPECT_TRUE(numbers(batch.token_T) == numbers(stream.read(0, dataset.tokens() * 2, 5).token_T));
    EXPECT_TRUE(numbers(batch.target_T) == numbers(stream.read(0, dataset.tokens() * 2, 5).target_T));
  }
}

TEST(TokenStream, ShowsEveryDocumentOnceInEachEpoch) {
  TemporaryFolder folder;
  const Dataset dataset(make_data(folder, 80, 60), Split::train);
  const TokenStream stream(dataset, 9);
  std::multiset<std::vector<int64_t>> stored;
  for (int64_t index = 0; index < dataset.documents(); ++index) {
    const auto ids = dataset.document(index);
    stored.emplace(ids.begin(), ids.end());
  }
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    const auto token = numbers(stream.read(epoch * dataset.tokens(), dataset.tokens(), 1).token_T);
    std::multiset<std::vector<int64_t>> seen;
    std::vector<int64_t> document;
    for (const int64_t id : token) {
      document.push_back(id);
      if (id != dataset.tokenizer()->end_of_text()) continue;
      seen.insert(document);
      document.clear();
    }
    EXPECT_TRUE(document.empty());
    EXPECT_TRUE(seen == stored);
    orders.insert(token);
  }
  EXPECT_EQ(orders.size(), 4u) << "epochs repeat an order";
}

TEST(TokenStream, OrdersAreEvenlySpread) {
  TemporaryFolder folder;
  std::istringstream none;
  build_data({.tokenizer = "bytes",
              .inputs = {folder.write("a", "a\n<|endoftext|>\nb\n<|endoftext|>\nc\n<|endoftext|>\n")},
              .validation_fraction = 0,
              .output = folder / "data"},
             none);
  const Dataset dataset(folder / "data", Split::train);
  std::map<std::vector<int64_t>, int> counts;
  constexpr int kRounds = 6000;
  for (int64_t seed = 0; seed < 60; ++seed) {
    const TokenStream stream(dataset, seed);
    for (int64_t epoch = 0; epoch < kRounds / 60; ++epoch) {
      ++counts[numbers(stream.read(epoch * 9, 9, 9).token_T)];
    }
  }
  ASSERT_EQ(counts.size(), 6u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 150);
}

TEST(TokenStream, ReadsEqualWhateverTheMicroBatches) {
  TemporaryFolder folder;
  const Dataset dataset(make_data(folder, 50, 90), Split::train);
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    const auto context = static_cast<int64_t>(1 + random() % 40);
    const int64_t windows = static_cast<int64_t>(2 + random() % 40);
    const int64_t first = static_cast<int64_t>(random() % 300) * context;
    const auto seed = static_cast<int64_t>(random() % 5);
    Joined whole, parts;
    whole.add(TokenStream(dataset, seed).read(first, windows * context, context));
    const TokenStream stream(dataset, seed);
    std::vector<std::pair<int64_t, int64_t>> cuts;  // micro-batches, read in any order
    for (int64_t begin = 0; begin < windows;) {
      const int64_t end = std::min(windows, begin + 1 + static_cast<int64_t>(random() % 6));
      cuts.emplace_back(begin, end);
      begin = end;
    }
    std::vector<Batch> batches(cuts.size());
    std::vector<size_t> order(cuts.size());
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), random);
    for (const size_t index : order) {
      batches[index] =
          stream.read(first + cuts[index].first * context, (cuts[index].second - cuts[index].first) * context, context);
    }
    for (const auto& batch : batches) parts.add(batch);
    EXPECT_TRUE(whole == parts);
  }
}

TEST(TokenStream, IsAPureFunctionOfSeedAndPositionAfterReopening) {
  TemporaryFolder folder;
  const std::string data = make_data(folder, 50, 40);
  const Dataset opened(data, Split::train);
  const TokenStream stream(opened, 3);
  for (int64_t step = 0; step < 20; ++step) stream.read(step * 64, 64, 16);
  const Dataset reopened(data, Split::train);
  Joined late, resumed, other;
  late.add(stream.read(20 * 64, 640, 16));
  resumed.add(TokenStream(reopened, 3).read(20 * 64, 640, 16));
  EXPECT_TRUE(late == resumed);
  other.add(TokenStream(reopened, 4).read(20 * 64, 640, 16));
  EXPECT_FALSE(late == other);
}

TEST(TokenStream, CountsTheTargetsOfAStep) {
  TemporaryFolder folder;
  const Dataset dataset(make_data(folder, 30, 30), Split::train);
  const TokenStream stream(dataset, 1);
  std::mt19937 random(9);
  for (int round = 0; round < 100; ++round) {
    const auto first = static_cast<int64_t>(random() % 3000), count = static_cast<int64_t>(1 + random() % 2000);
    const auto target = stream.read(first, count, 1).target_T;
    EXPECT_EQ(stream.targets(first, count), target.ge(0).sum().item<int64_t>());
  }
  EXPECT_EQ(stream.targets(5, 0), 0);
}

TEST(TokenStream, RepeatsASmallDataSetWithinAStep) {
  TemporaryFolder folder;
  std::istringstream none;
  build_data({.tokenizer = "bytes", .inputs = {folder.write("a", "x")}, .output = folder / "data"}, none);
  const Dataset dataset(folder / "data", Split::train);
  ASSERT_EQ(dataset.tokens(), 3);
  const TokenStream stream(dataset, 1);
  const Batch batch = stream.read(0, 3000, 500);
  expect_invariants(batch, *dataset.tokenizer(), 500);
  EXPECT_EQ(stream.targets(0, 3000), 2000);
  EXPECT_DOUBLE_EQ(stream.epochs(3000), 1000.0);
  EXPECT_DOUBLE_EQ(stream.epochs(0), 0.0);
}

TEST(TokenStream, CutsADocumentLongerThanTheContext) {
  TemporaryFolder folder;
  std::istringstream none;
  build_data({.tokenizer = "bytes",
              .inputs = {folder.write("a", std::string(98, 'x'))},
              .validation_fraction = 0,
              .output = folder / "data"},
             none);
  const Dataset dataset(folder / "data", Split::train);
  const Batch batch = TokenStream(dataset, 1).read(0, 100, 32);
  EXPECT_EQ(batch.documents.offsets, (std::vector<int64_t>{0, 32, 64, 96, 100}));
  EXPECT_EQ(batch.target_T[31].item<int64_t>(), 'x');
  EXPECT_EQ(batch.documents.position_T[32].item<int64_t>(), 0);
  EXPECT_EQ(batch.token_T[32].item<int64_t>(), 'x') << "a piece begins without bos";
  EXPECT_EQ(batch.target_T[99].item<int64_t>(), -1);
}

TEST(TokenStream, RefusesPositionsInsideAWindow) {
  TemporaryFolder folder;
  const Dataset dataset(make_data(folder, 5, 10), Split::train);
  const TokenStream stream(dataset, 1);
  EXPECT_THROW(stream.read(3, 10, 2), c10::Error);
  EXPECT_THROW(stream.read(-2, 10, 2), c10::Error);
  EXPECT_THROW(stream.read(0, 0, 2), c10::Error);
}

std::vector<std::vector<int32_t>> random_documents(std::mt19937& random) {
  std::vector<std::vector<int32_t>> documents(random() % 20);
  int32_t id = 0;
  for (auto& document : documents) {
    document.resize(random() % 30);
    for (auto& token : document) token = id++;
  }
  return documents;
}

TEST(ValidationBatches, MakeEveryTokenButADocumentsFirstATargetOnce) {
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    const auto documents = random_documents(random);
    const auto context = static_cast<int64_t>(1 + random() % 12);
    const int64_t batch_tokens = context + static_cast<int64_t>(random() % 40);
    std::vector<int64_t> targets, expected, tokens, all;
    for (const auto& document : documents) {
      for (size_t index = 0; index < document.size(); ++index) {
        all.push_back(document[index]);
        if (index > 0) expected.push_back(document[index]);
      }
    }
    for (const Batch& batch : batches_of(documents, context, batch_tokens)) {
      EXPECT_GT(batch.tokens(), 0);
      EXPECT_LE(batch.tokens(), batch_tokens);
      EXPECT_EQ(batch.token_T.numel(), batch.tokens());
      EXPECT_EQ(batch.target_T.numel(), batch.tokens());
      for (int64_t piece = 0; piece < batch.documents.size(); ++piece) {
        const auto at = static_cast<size_t>(piece);
        EXPECT_LE(batch.documents.offsets[at + 1] - batch.documents.offsets[at], context);
      }
      for (const int64_t id : numbers(batch.token_T)) tokens.push_back(id);
      for (const int64_t id : numbers(batch.target_T)) {
        if (id >= 0) targets.push_back(id);
      }
    }
    EXPECT_EQ(tokens, all);
    EXPECT_EQ(targets, expected);
  }
}

TEST(ValidationBatches, StopAtTheMostTokensAndKeepTheOrder) {
  TemporaryFolder folder;
  const Dataset dataset(make_data(folder, 80, 60), Split::train);
  Joined all;
  for (const Batch& batch : validation_batches(dataset, 16, 50, dataset.tokens())) all.add(batch);
  EXPECT_EQ(static_cast<int64_t>(all.token.size()), dataset.tokens());
  EXPECT_EQ(all.token[0], dataset.tokenizer()->begin_of_text());
  for (const int64_t most : {1, 15, 16, 17, 333}) {
    Joined some;
    for (const Batch& batch : validation_batches(dataset, 16, 50, most)) some.add(batch);
    EXPECT_EQ(some.token, (std::vector<int64_t>(all.token.begin(), all.token.begin() + most)));
    EXPECT_EQ(some.target, (std::vector<int64_t>(all.target.begin(), all.target.begin() + most)));
  }
}

}  // namespace
}  // namespace dlcm
