#include "dlcm/io/event_file.h"

#include "dlcm/io/hash.h"
#include "dlcm/util/error.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <system_error>

namespace dlcm {
namespace {

static_assert(std::endian::native == std::endian::little, "event files are little-endian");

constexpr std::string_view kNamePrefix = "events.out.tfevents.";

// Fields of event.proto and summary.proto.
constexpr uint32_t kEventWallTime = 1;
constexpr uint32_t kEventStep = 2;
constexpr uint32_t kEventFileVersion = 3;
constexpr uint32_t kEventSummary = 5;
constexpr uint32_t kEventSessionLog = 7;
constexpr uint32_t kSessionLogStatus = 1;
constexpr uint64_t kSessionLogStart = 1;
constexpr uint32_t kSummaryValue = 1;
constexpr uint32_t kValueTag = 1;
constexpr uint32_t kValueSimpleValue = 2;

enum class WireType : uint32_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

template <typename Number>
void put_raw(std::string& out, Number number) {
  out.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) {
    out.push_back(static_cast<char>(value | 0x80));
  }
  out.push_back(static_cast<char>(value));
}

void put_key(std::string& out, uint32_t field, WireType type) {
  put_varint(out, (uint64_t{field} << 3) | static_cast<uint32_t>(type));
}

void put_integer(std::string& out, uint32_t field, uint64_t value) {
  put_key(out, field, WireType::varint);
  put_varint(out, value);
}

void put_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  put_key(out, field, WireType::bytes);
  put_varint(out, bytes.size());
  out.append(bytes);
}

std::string begin_event(double wall_seconds) {
  std::string event;
  put_key(event, kEventWallTime, WireType::fixed64);
  put_raw(event, wall_seconds);
  return event;
}

// TFRecord's guard against checksums of data that holds checksums.
uint32_t masked_crc32c(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8u; }

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// TensorBoard reads the files of a directory in the order of their names, which begin with a second: the present one,
// or the first behind all that are there.
int64_t next_second(const std::string& directory) {
  auto second = static_cast<int64_t>(seconds_since_1970());
  std::error_code failure;
  for (std::filesystem::directory_iterator entry(directory, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    const std::string name = entry->path().filename().string();
    int64_t other = 0;
    if (name.starts_with(kNamePrefix) &&
        std::from_chars(name.data() + kNamePrefix.size(), name.data() + name.size(), other).ec == std::errc{}) {
      second = std::max(second, other + 1);
    }
  }
  if (failure) {
    throw RuntimeFailure("cannot list the directory {}: {}", directory, failure.message());
  }
  return second;
}

}  // namespace

EventFile::EventFile(const std::string& directory, int64_t done_steps) {
  path_ = fmt::format("{}/{}{:010}.dlcm", directory, kNamePrefix, next_second(directory));
  file_ = std::make_unique<AppendFile>(path_);
  const double now = seconds_since_1970();

  std::string version = begin_event(now);
  put_bytes(version, kEventFileVersion, "brain.Event:2");
  append_record(version);

  // TensorBoard drops all events at this step and later that it has read so far.
  std::string start = begin_event(now);
  put_integer(start, kEventStep, static_cast<uint64_t>(done_steps + 1));
  std::string session_log;
  put_integer(session_log, kSessionLogStatus, kSessionLogStart);
  put_bytes(start, kEventSessionLog, session_log);
  append_record(start);
}

void EventFile::append(int64_t step, double wall_seconds, const std::vector<std::pair<std::string, double>>& values) {
  std::string summary;
  for (const auto& [tag, number] : values) {
    std::string value;
    put_bytes(value, kValueTag, tag);
    put_key(value, kValueSimpleValue, WireType::fixed32);
    put_raw(value, static_cast<float>(number));
    put_bytes(summary, kSummaryValue, value);
  }
  std::string event = begin_event(wall_seconds);
  put_integer(event, kEventStep, static_cast<uint64_t>(step));
  put_bytes(event, kEventSummary, summary);
  append_record(event);
}

void EventFile::append_record(std::string_view event) {
  std::string record;
  put_raw(record, static_cast<uint64_t>(event.size()));
  put_raw(record, masked_crc32c(record));
  record.append(event);
  put_raw(record, masked_crc32c(event));
  file_->append(record);
}

}  // namespace dlcm
