// Event files, read back by an independent reader of TFRecords and protobuf messages.
// tests/io/tensorboard_check.py lets TensorBoard itself read what EventFile.WritesARunWithAResume leaves in the
// directory that the environment variable DLCM_EVENT_DIRECTORY names.
#include "dlcm/io/event_file.h"

#include "dlcm/io/files.h"
#include "dlcm/io/hash.h"
#include "tests/io/temporary_directory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>

namespace dlcm {
namespace {

using test::TemporaryDirectory;

template <typename Number>
Number take(std::string_view& bytes) {
  Number number{};
  if (bytes.size() < sizeof(number)) {
    ADD_FAILURE() << "the record ends early";
    bytes = {};
    return number;
  }
  std::memcpy(&number, bytes.data(), sizeof(number));
  bytes.remove_prefix(sizeof(number));
  return number;
}

uint64_t take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<uint8_t>(bytes);
    value |= uint64_t{byte & 0x7fu} << shift;
    if ((byte & 0x80) == 0) {
      return value;
    }
  }
}

// The fields of one message: number to raw value (a varint's value, or the bytes of the others).
struct Message {
  std::multimap<uint64_t, std::string> bytes;
  std::map<uint64_t, uint64_t> integers;
};

Message parse(std::string_view text) {
  Message message;
  while (!text.empty()) {
    const uint64_t key = take_varint(text);
    size_t length = 0;
    switch (key & 7) {
      case 0:
        message.integers[key >> 3] = take_varint(text);
        continue;
      case 1:
        length = 8;
        break;
      case 2:
        length = take_varint(text);
        break;
      case 5:
        length = 4;
        break;
      default:
        ADD_FAILURE() << "unknown wire type";
        return message;
    }
    message.bytes.emplace(key >> 3, std::string(text.substr(0, length)));
    text.remove_prefix(std::min(length, text.size()));
  }
  return message;
}

template <typename Number>
Number number_in(const Message& message, uint64_t field) {
  const auto found = message.bytes.find(field);
  if (found == message.bytes.end()) {
    ADD_FAILURE() << "no field " << field;
    return {};
  }
  std::string_view bytes = found->second;
  return take<Number>(bytes);
}

uint32_t unmask(uint32_t masked) {
  const uint32_t rotated = masked - 0xa282ead8u;
  return (rotated >> 17) | (rotated << 15);
}

std::vector<Message> read_events(const std::string& path) {
  const std::string content = read_file(path);
  std::string_view rest = content;
  std::vector<Message> events;
  while (!rest.empty()) {
    const std::string_view length_bytes = rest.substr(0, 8);
    const auto length = take<uint64_t>(rest);
    EXPECT_EQ(unmask(take<uint32_t>(rest)), crc32c(length_bytes));
    const std::string_view data = rest.substr(0, length);
    rest.remove_prefix(length);
    EXPECT_EQ(unmask(take<uint32_t>(rest)), crc32c(data));
    events.push_back(parse(data));
  }
  return events;
}

TEST(EventFile, HoldsVersionSessionStartAndScalars) {
  const TemporaryDirectory directory;
  EventFile file(directory.path(), 41);
  file.append(300, 1234.5, {{"train/loss", 3.25}, {"train/ratio", -1.0}});
  const auto events = read_events(file.path());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].bytes.find(3)->second, "brain.Event:2");
  EXPECT_EQ(events[1].integers.at(2), 42u);
  EXPECT_EQ(parse(events[1].bytes.find(7)->second).integers.at(1), 1u);
  EXPECT_EQ(number_in<double>(events[2], 1), 1234.5);
  EXPECT_EQ(events[2].integers.at(2), 300u);
  const auto summary = parse(events[2].bytes.find(5)->second);
  std::vector<std::pair<std::string, float>> values;
  for (const auto& [field, bytes] : summary.bytes) {
    EXPECT_EQ(field, 1u);
    const auto value = parse(bytes);
    values.emplace_back(value.bytes.find(1)->second, number_in<float>(value, 2));
  }
  EXPECT_EQ(values, (std::vector<std::pair<std::string, float>>{{"train/loss", 3.25f}, {"train/ratio", -1.0f}}));
}

TEST(EventFile, FilesOfOneSecondAreDistinctAndSortInOrder) {
  const TemporaryDirectory directory;
  std::vector<std::string> paths;
  for (int i = 0; i < 3; ++i) {
    paths.push_back(EventFile(directory.path(), 0).path());
  }
  EXPECT_TRUE(std::is_sorted(paths.begin(), paths.end()));
  EXPECT_NE(paths[0], paths[1]);
  EXPECT_NE(paths[1], paths[2]);
}

// Steps 1 to 9, of which a checkpoint at 6 keeps six, then 7 to 12 again with other values.
TEST(EventFile, WritesARunWithAResume) {
  const TemporaryDirectory temporary;
  const char* kept = std::getenv("DLCM_EVENT_DIRECTORY");
  const std::string directory = kept == nullptr ? temporary.path() : kept;
  EventFile first(directory, 0);
  for (int64_t step = 1; step <= 9; ++step) {
    first.append(step, 1000.0 + static_cast<double>(step), {{"train/loss", 10.0 / static_cast<double>(step)}});
  }
  EventFile second(directory, 6);
  for (int64_t step = 7; step <= 12; ++step) {
    second.append(step, 2000.0 + static_cast<double>(step), {{"train/loss", 20.0 / static_cast<double>(step)}});
  }
  EXPECT_LT(first.path(), second.path());
  EXPECT_EQ(read_events(first.path()).size(), 2u + 9u);
  EXPECT_EQ(read_events(second.path()).size(), 2u + 6u);
}

}  // namespace
}  // namespace dlcm
