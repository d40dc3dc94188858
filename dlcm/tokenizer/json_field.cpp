#include "dlcm/tokenizer/json_field.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace dlcm {
namespace {

using nlohmann::json;

// What a message shows of a value.
std::string shown(const json& value) {
  constexpr size_t kLongest = 60;
  if (value.is_null()) return "nothing";
  if (value.is_object() || value.is_array()) {
    return fmt::format("an {} of {} entries", value.type_name(), value.size());
  }
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

}  // namespace

std::string JsonField::path() const { return index_ == kNoIndex ? path_ : fmt::format("{}[{}]", path_, index_); }

std::string JsonField::place() const { return path_.empty() ? *file_ : fmt::format("{} of {}", path(), *file_); }

bool JsonField::is_null() const { return value_->is_null(); }
bool JsonField::is_object() const { return value_->is_object(); }
bool JsonField::is_array() const { return value_->is_array(); }
bool JsonField::is_string() const { return value_->is_string(); }

JsonField JsonField::operator[](std::string_view key) const {
  static const json null;
  if (!is_object()) refuse("an object");
  const auto found = value_->find(std::string(key));
  return {found == value_->end() ? null : *found, *file_,
          path_.empty() ? std::string(key) : fmt::format("{}.{}", path(), key)};
}

const std::string& JsonField::text() const {
  if (!is_string()) refuse("a string");
  return value_->get_ref<const std::string&>();
}

bool JsonField::flag() const {
  if (!value_->is_boolean()) refuse("true or false");
  return value_->get<bool>();
}

int32_t JsonField::number(int32_t largest) const {
  if (!value_->is_number_unsigned() || value_->get<uint64_t>() > static_cast<uint64_t>(largest)) {
    refuse(fmt::format("a whole number from 0 to {}", largest));
  }
  return value_->get<int32_t>();
}

size_t JsonField::size() const {
  if (!is_array()) refuse("an array");
  return value_->size();
}

void JsonField::for_each(const std::function<void(const JsonField&)>& visit) const {
  const std::string here = path();
  for (size_t index = 0; index < size(); ++index) visit({(*value_)[index], *file_, here, static_cast<int64_t>(index)});
}

void JsonField::for_each_member(const std::function<void(const std::string&, const JsonField&)>& visit) const {
  if (!is_object()) refuse("an object");
  for (const auto& [key, member] : value_->items()) visit(key, {member, *file_, path()});
}

void JsonField::allow_only(std::initializer_list<std::string_view> keys) const {
  if (!is_object()) refuse("an object");
  for (const auto& [key, member] : value_->items()) {
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    throw Error("expected only the fields {} in {}, found {}: dlcm does not know what it means", fmt::join(keys, ", "),
                place(), json(key).dump());
  }
}

void JsonField::refuse(std::string_view expected, std::string_view advice) const {
  throw Error("expected {} as {}, found {}: {}", expected, place(), shown(*value_), advice);
}

}  // namespace dlcm
