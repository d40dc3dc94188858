// Facts about reading plain and compressed bytes.
#include "dlcm/io/byte_source.h"
#include "dlcm/util/error.h"
#include "tests/io/temporary_directory.h"
#include "tests/support/compress.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <random>
#include <sstream>

namespace dlcm {
namespace {

using testing::gzip;
using testing::zstd;

// Bytes that compress to about a half.
std::string made_up_bytes(size_t size, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random() % 16);
  return bytes;
}

// All bytes, read in pieces of up to `piece` bytes; what came before an exception is in `before`.
std::string all_of(ByteSource& source, size_t piece, std::string* before = nullptr) {
  std::string all;
  std::string& bytes = before != nullptr ? *before : all;
  std::string buffer(piece, '\0');
  while (const size_t count = source.read(buffer.data(), buffer.size())) bytes.append(buffer, 0, count);
  return bytes;
}

std::string read_stream(const std::string& stored, size_t piece = 1 << 16, std::string* before = nullptr) {
  std::istringstream stream(stored);
  ByteSource source(stream, "standard input");
  return all_of(source, piece, before);
}

TEST(ByteSource, GivesTheBytesBehindEveryCompression) {
  for (const size_t size : {0, 1, 5, 4096, 300000, 3000000}) {
    const std::string bytes = made_up_bytes(size);
    for (const size_t piece : {1, 7, 65536, 5000000}) {
      if (piece < 7 && size > 5000) continue;
      EXPECT_TRUE(read_stream(bytes, piece) == bytes);
      EXPECT_TRUE(read_stream(gzip(bytes), piece) == bytes);
      EXPECT_TRUE(read_stream(zstd(bytes), piece) == bytes);
    }
  }
}

TEST(ByteSource, ReadsMembersAndFramesLaidEndToEnd) {
  const std::string one = made_up_bytes(1000, 1), two = made_up_bytes(500000, 2);
  EXPECT_TRUE(read_stream(gzip(one) + gzip("") + gzip(two)) == one + two);
  EXPECT_TRUE(read_stream(gzip(one) + std::string(300000, '\0')) == one) << "zeros are padding";
  EXPECT_TRUE(read_stream(zstd(one) + zstd("") + zstd(two)) == one + two);
}

TEST(ByteSource, RefusesTruncatedDataAtEveryLengthAfterTheBytesBefore) {
  const std::string bytes = made_up_bytes(2000);
  for (const auto& stored : {gzip(bytes), zstd(bytes)}) {
    for (size_t length = 4; length < stored.size(); ++length) {
      std::string before;
      EXPECT_THROW(read_stream(stored.substr(0, length), 64, &before), Error) << length;
      EXPECT_TRUE(bytes.starts_with(before));
    }
  }
  const std::string large = made_up_bytes(1 << 20), stored = gzip(large);
  std::string before;
  EXPECT_THROW(read_stream(stored.substr(0, stored.size() / 2), 4096, &before), Error);
  EXPECT_GT(before.size(), large.size() / 3);
}

TEST(ByteSource, RefusesDamagedData) {
  const std::string bytes = made_up_bytes(5000);
  std::mt19937 random(3);
  for (const auto& stored : {gzip(bytes), zstd(bytes)}) {
    for (int round = 0; round < 300; ++round) {
      std::string damaged = stored;
      damaged[10 + random() % (damaged.size() - 10)] ^= static_cast<char>(1 << random() % 8);
      std::string before;
      try {
        EXPECT_TRUE(read_stream(damaged, 512, &before) == bytes) << "a bit that carries nothing";
      } catch (const Error&) {
      }
    }
  }
  EXPECT_THROW(read_stream(gzip(bytes) + "x"), Error);
  EXPECT_THROW(read_stream(zstd(bytes) + "x"), Error);
}

TEST(ByteSource, RefusesAFileThatIsNotWhatItsNameSays) {
  const test::TemporaryDirectory directory;
  for (const std::string name : {"a.gz", "a.zst"}) {
    for (const std::string content : {"", "plain text"}) {
      const auto path = directory.path() + "/" + name;
      std::ofstream(path, std::ios::binary) << content;
      EXPECT_THROW(ByteSource{path}, Error) << name << " of " << content;
    }
  }
  EXPECT_THROW(ByteSource{directory.path() + "/missing"}, RuntimeFailure);
}

TEST(ByteSource, SkipsToThePlaceThatReadingReaches) {
  const test::TemporaryDirectory directory;
  const std::string bytes = made_up_bytes(700000);
  const auto write = [&](const std::string& name, const std::string& content) {
    const auto path = directory.path() + "/" + name;
    std::ofstream(path, std::ios::binary) << content;
    return path;
  };
  for (const auto& path : {write("a", bytes), write("a.gz", gzip(bytes)), write("a.zst", zstd(bytes))}) {
    for (const int64_t first : {0, 1, 1000, 262144, 300001, 699999, 700000}) {
      ByteSource source(path);
      source.skip(first);
      EXPECT_TRUE(all_of(source, 65536) == bytes.substr(static_cast<size_t>(first))) << path << " from " << first;
    }
  }
  std::istringstream stream("short");
  ByteSource source(stream, "standard input");
  EXPECT_THROW(source.skip(6), Error);
}

}  // namespace
}  // namespace dlcm
