#include "dlcm/tokenizer/jsonl.h"

#include "dlcm/tokenizer/parallel_encode.h"
#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"

#include <fmt/ranges.h>

#include <istream>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

namespace dlcm {
namespace {

using nlohmann::json;

constexpr size_t kBatchBytes = size_t{1} << 20;

// Lines that can be read without waiting, one in any case; none at the end of the input.
std::vector<std::string> lines_at_hand(std::istream& input) {
  std::vector<std::string> lines;
  size_t bytes = 0;
  for (std::string line;
       (lines.empty() || (bytes < kBatchBytes && input.rdbuf()->in_avail() > 0)) && std::getline(input, line);) {
    bytes += line.size();
    lines.push_back(std::move(line));
  }
  return lines;
}

// Writes for each line what `convert(value)` makes of its JSON value; nothing means a bad line.
template <typename Convert>
void for_each_line(std::istream& input, std::ostream& output, std::string_view expected, Convert convert) {
  int64_t number = 1;
  for (auto lines = lines_at_hand(input); !lines.empty(); lines = lines_at_hand(input)) {
    std::vector<std::optional<std::string>> results(lines.size());
    for_each_text(lines.size(), 0, [&](size_t index) {
      results[index] = convert(json::parse(lines[index], nullptr, /*allow_exceptions=*/false));
    });
    for (size_t index = 0; index < lines.size(); ++index, ++number) {
      if (!results[index]) {
        output.flush();
        throw Error("expected {} in line {} of standard input, found {}", expected, number, lines[index]);
      }
      output << *results[index] << '\n';
    }
    output.flush();
  }
}

}  // namespace

std::optional<std::vector<int32_t>> ids_of_json(const Tokenizer& tokenizer, const json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<int32_t> ids;
  for (const auto& id : value) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(tokenizer.vocabulary())) {
      return std::nullopt;
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

void encode_jsonl(const Tokenizer& tokenizer, std::istream& input, std::ostream& output, bool add_specials) {
  for_each_line(input, output, "a JSON string", [&](const json& value) -> std::optional<std::string> {
    if (!value.is_string()) return std::nullopt;
    auto ids = tokenizer.encode_with_specials(value.get_ref<const std::string&>());
    if (add_specials) ids = tokenizer.add_specials(ids);
    return fmt::format("[{}]", fmt::join(ids, ","));
  });
}

void decode_jsonl(const Tokenizer& tokenizer, std::istream& input, std::ostream& output) {
  const auto expected = fmt::format("a JSON array of ids from 0 to {}", tokenizer.vocabulary() - 1);
  for_each_line(input, output, expected, [&](const json& value) -> std::optional<std::string> {
    const auto ids = ids_of_json(tokenizer, value);
    if (!ids) return std::nullopt;
    return json(valid_utf8(tokenizer.decode_with_specials(*ids))).dump();
  });
}

}  // namespace dlcm
