// The records of JSON lines and of text, compressed or not: no bytes may crash the reader, each JSON line gives what a
// parse of the whole line gives, and a reader that goes to the place behind any record sees the rest.
#include "tests/fuzz/harness.h"

#include "dlcm/tokenizer/text_input.h"

#include <nlohmann/json.hpp>

#include <sstream>
#include <string>
#include <vector>

namespace dlcm {
namespace {

using fuzz::expect;

constexpr int64_t kLongest = 2000;

struct Seen {
  std::string content;
  int64_t line = 0;
  bool fault = false;
  bool operator==(const Seen&) const = default;
};

void expect_what_a_whole_parse_gives(const InputRecord& record) {
  const JsonFields fields{.text = "text", .domain = "source"};
  const auto whole = nlohmann::json::parse(record.content, nullptr, /*allow_exceptions=*/false);
  const bool good = whole.is_object() && whole.contains("text") && whole["text"].is_string() &&
                    whole.contains("source") && whole["source"].is_string();
  InputRecord copy = record;
  const auto document = document_of(copy, fields, "file");
  expect(copy.fault.has_value() == !good);
  expect(good || !copy.message.empty());
  if (good)
    expect(document.text == whole["text"].get<std::string>() && document.domain == whole["source"].get<std::string>());
}

std::vector<Seen> read_all(RecordInput& input, std::vector<InputPlace>* places = nullptr) {
  std::vector<Seen> seen;
  for (InputRecord record; input.next(record);) {
    expect(record.fault.has_value() == !record.message.empty());
    expect(static_cast<int64_t>(record.content.size()) <= kLongest);
    if (record.is_json && !record.fault) expect_what_a_whole_parse_gives(record);
    seen.push_back({record.content, record.line, record.fault.has_value()});
    if (places != nullptr) places->push_back(input.place());
    record = {};
  }
  return seen;
}

void read_as(InputFormat format, const std::string& bytes) {
  const InputRules rules{.format = format, .longest_record_bytes = kLongest};
  std::istringstream stream(bytes);
  RecordInput input({"-"}, rules, stream);
  std::vector<InputPlace> places;
  const auto all = read_all(input, &places);
  if (all.empty()) return;
  const size_t stop = bytes.size() % all.size();
  std::istringstream again(bytes);
  RecordInput resumed({"-"}, rules, again);
  resumed.go_to(places[stop]);
  expect(read_all(resumed) == std::vector<Seen>(all.begin() + static_cast<std::ptrdiff_t>(stop) + 1, all.end()));
}

}  // namespace

DLCM_FUZZ_HARNESS(json_lines) {
  read_as(InputFormat::json_lines, std::string(bytes));
  read_as(InputFormat::text, std::string(bytes));
}

}  // namespace dlcm
