#include "dlcm/eval/record.h"

#include "dlcm/io/files.h"
#include "dlcm/util/error.h"
#include "dlcm/util/utf8.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace dlcm {
namespace {

constexpr size_t kLongestShown = 60;

// A value as a message shows it.
std::string shown(const nlohmann::json& value) {
  const auto text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return text.size() <= kLongestShown ? text : valid_utf8(text.substr(0, kLongestShown)) + " ...";
}

}  // namespace

std::string Record::where() const { return fmt::format("line {} of {}", line_, path_); }

void Record::refuse(std::string_view name, std::string_view expected, std::string_view found) const {
  throw Error("expected {} as \"{}\" in {}, found {}: correct or remove the line", expected, name, where(), found);
}

const nlohmann::json& Record::field(std::string_view name) const {
  const auto* object = &object_;
  for (auto rest = name;;) {
    const auto dot = rest.find('.');
    const auto found = object->is_object() ? object->find(rest.substr(0, dot)) : object->end();
    if (found == object->end()) refuse(name, "a value", "none");
    if (dot == std::string_view::npos) return *found;
    object = &*found;
    rest.remove_prefix(dot + 1);
  }
}

const std::string& Record::text(std::string_view name) const {
  const auto& value = field(name);
  if (!value.is_string()) refuse(name, "a string", shown(value));
  return value.get_ref<const std::string&>();
}

std::vector<std::string> Record::texts(std::string_view name, size_t count) const {
  const auto& value = field(name);
  const bool strings = value.is_array() && !value.empty() &&
                       std::all_of(value.begin(), value.end(), [](const auto& entry) { return entry.is_string(); });
  if (!strings || (count > 0 && value.size() != count)) {
    refuse(name, count > 0 ? fmt::format("an array of {} strings", count) : "an array of strings", shown(value));
  }
  return value.get<std::vector<std::string>>();
}

size_t Record::label(std::string_view name, const std::vector<std::string>& labels) const {
  const auto& value = field(name);
  const auto found =
      value.is_string() ? std::find(labels.begin(), labels.end(), value.get_ref<const std::string&>()) : labels.end();
  if (found == labels.end()) refuse(name, fmt::format("one of {}", fmt::join(labels, ", ")), shown(value));
  return static_cast<size_t>(found - labels.begin());
}

size_t Record::index(std::string_view name, size_t count) const {
  const auto& value = field(name);
  const auto number = value.is_number_integer() ? value.get<int64_t>() : -1;
  if (number < 0 || number >= static_cast<int64_t>(count)) {
    refuse(name, fmt::format("a whole number from 0 to {}", count - 1), shown(value));
  }
  return static_cast<size_t>(number);
}

std::vector<Record> read_records(const std::string& path) {
  const auto content = read_file(path);
  std::vector<Record> records;
  int64_t number = 0;
  for (std::string_view rest = content; !rest.empty();) {
    const auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) {
      throw Error("expected a JSON object in line {} of {}, found {}: correct or remove the line", number, path,
                  object.is_discarded() ? "no valid JSON" : object.type_name());
    }
    records.emplace_back(std::move(object), path, number);
  }
  if (records.empty())
    throw Error("expected items, one JSON object a line, in {}, found none: give another file", path);
  return records;
}

}  // namespace dlcm
