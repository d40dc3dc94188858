#include "dlcm/serve/request_fields.h"

#include <cmath>

namespace dlcm {
namespace {

using nlohmann::json;

constexpr int kDeepest = 16;
constexpr size_t kShownBytes = 60;

json parsed(std::string_view body) {
  const auto allow = [](int depth, json::parse_event_t, json&) {
    if (depth > kDeepest) throw bad_request("", "expected a JSON object nested at most {} deep", kDeepest);
    return true;
  };
  try {
    return json::parse(body, allow);
  } catch (const json::exception& error) {
    // "[json.exception.parse_error.101] parse error at ...": the number says nothing to a client.
    const std::string message = error.what();
    throw bad_request("", "expected a JSON object as the body, found no valid JSON ({})",
                      message.substr(std::min(message.size(), message.find("] ") + 2)));
  }
}

}  // namespace

std::string found(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  const auto text = value.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
  if (text.size() <= kShownBytes) return text;
  return value.is_string() ? "a long string" : "a long number";
}

RequestFields::RequestFields(std::string_view body) : object_(parsed(body)) {
  if (!object_.is_object()) throw bad_request("", "expected a JSON object as the body, found {}", found(object_));
}

const json& RequestFields::value(std::string_view name) const {
  static const json missing;
  const auto place = object_.find(name);
  return place == object_.end() ? missing : *place;
}

std::optional<bool> RequestFields::flag(std::string_view name) const {
  const auto& field = value(name);
  if (field.is_null()) return std::nullopt;
  if (!field.is_boolean()) throw bad_request(name, "expected true or false as {}, found {}", name, found(field));
  return field.get<bool>();
}

std::optional<int64_t> RequestFields::whole(std::string_view name, int64_t least, int64_t most) const {
  const auto& field = value(name);
  if (field.is_null()) return std::nullopt;
  const bool fits =
      field.is_number_unsigned() ? field.get<uint64_t>() <= static_cast<uint64_t>(most) : field.is_number_integer();
  if (!fits || field.get<int64_t>() < least || field.get<int64_t>() > most) {
    throw bad_request(name, "expected a whole number from {} to {} as {}, found {}", least, most, name, found(field));
  }
  return field.get<int64_t>();
}

std::optional<double> RequestFields::number(std::string_view name, double least, double most) const {
  const auto& field = value(name);
  if (field.is_null()) return std::nullopt;
  if (!field.is_number() || !(field.get<double>() >= least && field.get<double>() <= most)) {
    throw bad_request(name, "expected a number from {} to {} as {}, found {}", least, most, name, found(field));
  }
  return field.get<double>();
}

std::optional<std::string> RequestFields::text(std::string_view name) const {
  const auto& field = value(name);
  if (field.is_null()) return std::nullopt;
  if (!field.is_string()) throw bad_request(name, "expected a string as {}, found {}", name, found(field));
  return field.get<std::string>();
}

void RequestFields::refuse_unless(std::string_view name, bool neutral, std::string_view advice) const {
  if (value(name).is_null() || neutral) return;
  throw ApiError(400, fmt::format("{} is not supported here, found {}: {}", name, found(value(name)), advice),
                 std::string(name), "unsupported_parameter");
}

}  // namespace dlcm
