// Reading, printing and describing a Config, all from the structs' field lists.
#include "dlcm/config/config.h"

#include "dlcm/util/edit_distance.h"
#include "dlcm/util/error.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <type_traits>

namespace dlcm {
namespace {

template <typename Enum>
std::string names_of() {
  std::string names;
  for (const auto name : EnumNames<Enum>::value) names += (names.empty() ? "" : ", ") + std::string(name);
  return names;
}

template <typename Table>
std::vector<std::string> keys_of() {
  std::vector<std::string> keys;
  Table table;
  Table::fields(table, [&](std::string_view key, auto&, std::string_view) { keys.emplace_back(key); });
  return keys;
}

std::string describe(const toml::node& node) {
  std::ostringstream text;
  if (node.is_table()) return "a table";
  if (node.is_array()) return "an array";
  node.visit([&](const auto& element) {
    if constexpr (toml::is_value<decltype(element)>) text << element;
  });
  return text.str();
}

std::string place(std::string_view where, const toml::node& node) {
  const auto line = node.source().begin.line;
  return line == 0 ? std::string(where) : fmt::format("{}:{}", where, line);
}

[[noreturn]] void wrong_type(std::string_view expected, const toml::node& node, const std::string& key,
                             std::string_view where) {
  throw Error("{}: {} expects {}, found {}", place(where, node), key, expected, describe(node));
}

template <typename Field>
void read_field(Field& field, const toml::node& node, const std::string& key, std::string_view where) {
  if constexpr (std::is_same_v<Field, bool>) {
    const auto value = node.value_exact<bool>();
    if (!value) wrong_type("true or false", node, key, where);
    field = *value;
  } else if constexpr (std::is_same_v<Field, int64_t>) {
    const auto value = node.value_exact<int64_t>();
    if (!value) wrong_type("a whole number", node, key, where);
    field = *value;
  } else if constexpr (std::is_same_v<Field, double>) {
    const auto value = node.is_number() ? node.value<double>() : std::nullopt;
    if (!value || !std::isfinite(*value)) wrong_type("a finite number", node, key, where);
    field = *value;
  } else if constexpr (std::is_enum_v<Field>) {
    const auto value = node.value_exact<std::string>();
    const auto& names = EnumNames<Field>::value;
    const auto found = value ? std::find(names.begin(), names.end(), *value) : names.end();
    if (found == names.end()) wrong_type("one of " + names_of<Field>(), node, key, where);
    field = static_cast<Field>(found - names.begin());
  } else {
    const auto* table = node.as_table();
    if (!table) wrong_type("a table", node, key, where);
    for (const auto& [name, child] : *table) {
      const std::string full = key.empty() ? std::string(name.str()) : fmt::format("{}.{}", key, name.str());
      bool known = false;
      Field::fields(field, [&](std::string_view candidate, auto& member, std::string_view) {
        if (candidate != name.str()) return;
        known = true;
        read_field(member, child, full, where);
      });
      if (!known) {
        throw Error("{}: unknown key {}; the nearest known one is {}{}", place(where, child), full,
                    key.empty() ? "" : key + ".", nearest_name(name.str(), keys_of<Field>()));
      }
    }
  }
}

template <typename Field>
std::string toml_value(const Field& field) {
  if constexpr (std::is_same_v<Field, bool>) {
    return field ? "true" : "false";
  } else if constexpr (std::is_enum_v<Field>) {
    return fmt::format("\"{}\"", name_of(field));
  } else if constexpr (std::is_same_v<Field, double>) {
    auto text = fmt::format("{}", field);  // the shortest form that reads back to the same double
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    return text;
  } else {
    return fmt::format("{}", field);
  }
}

template <typename Field>
constexpr bool is_leaf = std::is_arithmetic_v<Field> || std::is_enum_v<Field>;

template <typename Table>
void collect_entries(const Table& table, const std::string& prefix, std::vector<ConfigEntry>& entries) {
  Table::fields(table, [&](std::string_view key, const auto& field, std::string_view description) {
    if constexpr (is_leaf<std::decay_t<decltype(field)>>) {
      entries.push_back({fmt::format("{}{}", prefix, key), toml_value(field), std::string(description)});
    } else {
      collect_entries(field, fmt::format("{}{}.", prefix, key), entries);
    }
  });
}

template <typename Table>
void print_table(const Table& table, const std::string& path, std::string& out) {
  std::string leaves;
  Table::fields(table, [&](std::string_view key, const auto& field, std::string_view) {
    if constexpr (is_leaf<std::decay_t<decltype(field)>>) leaves += fmt::format("{} = {}\n", key, toml_value(field));
  });
  if (!leaves.empty()) out += fmt::format("{}[{}]\n{}", out.empty() ? "" : "\n", path, leaves);
  Table::fields(table, [&](std::string_view key, const auto& field, std::string_view) {
    if constexpr (!is_leaf<std::decay_t<decltype(field)>>) {
      print_table(field, path.empty() ? std::string(key) : fmt::format("{}.{}", path, key), out);
    }
  });
}

toml::table parse_toml(std::string_view text, std::string_view where) {
  try {
    return toml::parse(text, where);
  } catch (const toml::parse_error& error) {
    throw Error("{}:{}: not valid TOML: {}", where, error.source().begin.line, error.description());
  }
}

// "a.b=c" as the TOML document "a.b = c"; a bare word that is no TOML value is a string, so that
// --set parser.rule=stride needs no quotes.
toml::table parse_setting(const std::string& setting) {
  const auto equals = setting.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == setting.size()) {
    throw Error("--set expects KEY=VALUE such as train.steps=120, found \"{}\"", setting);
  }
  const auto where = "--set " + setting;
  const auto value = setting.substr(equals + 1);
  // A value that begins with a letter and is no TOML word is a name.
  const bool name = std::isalpha(static_cast<unsigned char>(value[0])) && value != "true" && value != "false" &&
                    value != "inf" && value != "nan";
  return parse_toml(setting.substr(0, equals) + " = " + (name ? '"' + value + '"' : value), where);
}

}  // namespace

double Config::token_multiplier() const {
  return mup.base_token_width == 0 ? 1.0 : static_cast<double>(model.token.width) / static_cast<double>(mup.base_token_width);
}

double Config::concept_multiplier() const {
  return mup.base_concept_width == 0
             ? 1.0
             : static_cast<double>(model.concepts.width) / static_cast<double>(mup.base_concept_width);
}

int64_t Config::scan_width() const { return parser.scan_width == 0 ? model.token.width / 2 : parser.scan_width; }

Config parse_config(std::string_view toml, std::string_view where, const std::vector<std::string>& settings) {
  Config config;
  read_field(config, parse_toml(toml, where), "", where);
  for (const auto& setting : settings) read_field(config, parse_setting(setting), "", "--set " + setting);
  check_config(config);
  return config;
}

Config load_config(const std::string& path, const std::vector<std::string>& settings) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    throw Error("cannot read the configuration {}: give the path of a TOML file such as configs/small.toml", path);
  }
  return parse_config(text.str(), path, settings);
}

std::string to_toml(const Config& config) {
  std::string out;
  print_table(config, "", out);
  return out;
}

std::vector<ConfigEntry> config_entries(const Config& config) {
  std::vector<ConfigEntry> entries;
  collect_entries(config, "", entries);
  return entries;
}

std::string config_markdown() {
  std::string out = "| key | default | meaning |\n|---|---|---|\n";
  for (const auto& [key, value, description] : config_entries(Config{})) {
    out += fmt::format("| `{}` | `{}` | {} |\n", key, value, description);
  }
  return out;
}

}  // namespace dlcm
