#include "dlcm/tokenizer/jsonl.h"

#include "dlcm/util/error.h"

#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>

namespace dlcm {
namespace {

using nlohmann::json;

// Calls `convert(value)` for each line and writes the JSON that it gives; a null answer means a bad line.
template <typename Convert>
void for_each_line(std::istream& input, std::ostream& output, std::string_view expected, Convert convert) {
  std::string line;
  for (int64_t number = 1; std::getline(input, line); ++number) {
    const json result = convert(json::parse(line, nullptr, /*allow_exceptions=*/false));
    if (result.is_null()) throw Error("expected {} in line {} of standard input, found {}", expected, number, line);
    output << result.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace) << '\n' << std::flush;
  }
}

}  // namespace

void encode_jsonl(const Tokenizer& tokenizer, std::istream& input, std::ostream& output) {
  for_each_line(input, output, "a JSON string", [&](const json& value) -> json {
    if (!value.is_string()) return nullptr;
    return tokenizer.encode(value.get_ref<const std::string&>());
  });
}

void decode_jsonl(const Tokenizer& tokenizer, std::istream& input, std::ostream& output) {
  const auto expected = fmt::format("a JSON array of ids from 0 to {}", tokenizer.vocabulary() - 1);
  for_each_line(input, output, expected, [&](const json& value) -> json {
    if (!value.is_array()) return nullptr;
    std::string text;
    for (const auto& id : value) {
      if (!id.is_number_integer()) return nullptr;
      if (id.is_number_unsigned() && id.get<uint64_t>() >= static_cast<uint64_t>(tokenizer.vocabulary()))
        return nullptr;
      if (id.get<int64_t>() < 0) return nullptr;
      text += tokenizer.piece(id.get<int64_t>());
    }
    return text;
  });
}

}  // namespace dlcm
