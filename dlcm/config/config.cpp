// Reading, printing and describing a Config, all from the structs' field lists.
#include "dlcm/config/config.h"

#include "dlcm/util/edit_distance.h"
#include "dlcm/util/error.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <type_traits>

namespace dlcm {
namespace {

constexpr size_t kLargestFileBytes = size_t{1} << 20;

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

// Where settings come from. A --set is one line, so its messages carry no line number.
struct Source {
  std::string name;
  bool has_lines = true;

  std::string place(toml::source_index line) const {
    return has_lines && line != 0 ? fmt::format("{}:{}", name, line) : name;
  }
  std::string place(const toml::node& node) const { return place(node.source().begin.line); }
};

// The place of every key read so far, for messages about numbers that do not fit together.
using Places = std::map<std::string, std::string>;

[[noreturn]] void wrong_type(std::string_view expected, const toml::node& node, const std::string& key,
                             const Source& source) {
  throw Error("{}: {} expects {}, found {}", source.place(node), key, expected, describe(node));
}

template <typename Field>
void read_field(Field& field, const toml::node& node, const std::string& key, const Source& source, Places& places) {
  places[key] = source.place(node);
  if constexpr (std::is_same_v<Field, bool>) {
    const auto value = node.value_exact<bool>();
    if (!value) wrong_type("true or false", node, key, source);
    field = *value;
  } else if constexpr (std::is_same_v<Field, int64_t>) {
    const auto value = node.value_exact<int64_t>();
    if (!value) wrong_type("a whole number", node, key, source);
    field = *value;
  } else if constexpr (std::is_same_v<Field, double>) {
    const auto value = node.is_number() ? node.value<double>() : std::nullopt;
    if (!value || !std::isfinite(*value)) wrong_type("a finite number", node, key, source);
    field = *value;
  } else if constexpr (std::is_same_v<Field, std::string>) {
    const auto value = node.value_exact<std::string>();
    if (!value) wrong_type("text in quotes", node, key, source);
    field = *value;
  } else if constexpr (std::is_enum_v<Field>) {
    const auto value = node.value_exact<std::string>();
    const auto& names = EnumNames<Field>::value;
    const auto found = value ? std::find(names.begin(), names.end(), *value) : names.end();
    if (found == names.end()) wrong_type("one of " + names_of<Field>(), node, key, source);
    field = static_cast<Field>(found - names.begin());
  } else {
    const auto* table = node.as_table();
    if (!table) wrong_type("a table", node, key, source);
    for (const auto& [name, child] : *table) {
      const std::string full = key.empty() ? std::string(name.str()) : fmt::format("{}.{}", key, name.str());
      bool known = false;
      Field::fields(field, [&](std::string_view candidate, auto& member, std::string_view) {
        if (candidate != name.str()) return;
        known = true;
        read_field(member, child, full, source, places);
      });
      if (!known) {
        throw Error("{}: unknown key {}; the nearest known one is {}{}", source.place(child), full,
                    key.empty() ? "" : key + ".", nearest_name(name.str(), keys_of<Field>()));
      }
    }
  }
}

// As a TOML basic string.
std::string toml_string(std::string_view text) {
  std::string result = "\"";
  for (const char letter : text) {
    if (letter == '"' || letter == '\\') {
      result += '\\';
      result += letter;
    } else if (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f) {
      result += fmt::format("\\u{:04x}", static_cast<unsigned>(letter));
    } else {
      result += letter;
    }
  }
  return result + '"';
}

template <typename Field>
std::string toml_value(const Field& field) {
  if constexpr (std::is_same_v<Field, bool>) {
    return field ? "true" : "false";
  } else if constexpr (std::is_same_v<Field, std::string>) {
    return toml_string(field);
  } else if constexpr (std::is_enum_v<Field>) {
    return toml_string(name_of(field));
  } else if constexpr (std::is_same_v<Field, double>) {
    auto text = fmt::format("{}", field);  // the shortest form that reads back to the same double
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    return text;
  } else {
    return fmt::format("{}", field);
  }
}

// What a field takes, in words.
template <typename Field>
std::string values_of() {
  if constexpr (std::is_same_v<Field, bool>) {
    return "true, false";
  } else if constexpr (std::is_enum_v<Field>) {
    return names_of<Field>();
  } else if constexpr (std::is_same_v<Field, std::string>) {
    return "text";
  } else {
    return std::is_same_v<Field, double> ? "number" : "whole number";
  }
}

template <typename Field>
constexpr bool is_leaf = std::is_arithmetic_v<Field> || std::is_enum_v<Field> || std::is_same_v<Field, std::string>;

template <typename Table>
void collect_entries(const Table& table, const std::string& prefix, std::vector<ConfigEntry>& entries) {
  Table::fields(table, [&](std::string_view key, const auto& field, std::string_view description) {
    if constexpr (is_leaf<std::decay_t<decltype(field)>>) {
      using Field = std::decay_t<decltype(field)>;
      entries.push_back(
          {fmt::format("{}{}", prefix, key), toml_value(field), values_of<Field>(), std::string(description)});
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

toml::table parse_toml(std::string_view text, const Source& source) {
  try {
    return toml::parse(text, source.name);
  } catch (const toml::parse_error& error) {
    throw Error("{}: not valid TOML: {}", source.place(error.source().begin.line), error.description());
  }
}

// "a.b=c" as the TOML document "a.b = c"; a value that begins with a letter, "/", "." or "~" and is no TOML word is a
// string, so that --set parser.rule=stride and a path need no quotes.
toml::table parse_setting(const std::string& setting, const Source& source) {
  const auto equals = std::min(setting.find('='), setting.size());
  const auto key = setting.substr(0, equals);
  const bool is_key = !key.empty() && std::all_of(key.begin(), key.end(), [](unsigned char letter) {
    return std::isalnum(letter) || letter == '_' || letter == '.';
  });
  if (!is_key || equals + 1 >= setting.size() || setting.find_first_of("\r\n") != std::string::npos) {
    throw Error("--set expects KEY=VALUE such as train.steps=120, found \"{}\"", setting);
  }
  const auto value = setting.substr(equals + 1);
  const bool begins_word = std::isalpha(static_cast<unsigned char>(value[0])) ||
                           std::string_view("/.~").find(value[0]) != std::string_view::npos;
  const bool is_word = begins_word && value != "true" && value != "false" && value != "inf" && value != "nan";
  return parse_toml(key + " = " + (is_word ? toml_string(value) : value), source);
}

}  // namespace

double Config::token_multiplier() const {
  return mup.base_token_width == 0 ? 1.0
                                   : static_cast<double>(model.token.width) / static_cast<double>(mup.base_token_width);
}

double Config::concept_multiplier() const {
  return mup.base_concept_width == 0
             ? 1.0
             : static_cast<double>(model.concepts.width) / static_cast<double>(mup.base_concept_width);
}

int64_t Config::scan_width() const { return parser.scan_width == 0 ? model.token.width / 2 : parser.scan_width; }

Config parse_config(std::string_view toml, std::string_view where, const std::vector<std::string>& settings) {
  Config config;
  Places places;
  const Source file{std::string(where)};
  read_field(config, parse_toml(toml, file), "", file, places);
  for (const auto& setting : settings) {
    const Source source{"--set " + setting, false};
    read_field(config, parse_setting(setting, source), "", source, places);
  }
  try {
    check_config(config);
  } catch (const ConfigError& error) {
    for (const auto& key : error.keys()) {
      if (places.contains(key)) throw Error("{}: {}", places[key], error.what());
    }
    throw Error("{}: {}", where, error.what());
  }
  return config;
}

Config load_config(const std::string& path, const std::vector<std::string>& settings) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kLargestFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) {
    throw Error("cannot read the configuration {}: give the path of a TOML file such as configs/small.toml", path);
  }
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kLargestFileBytes) {
    throw Error(
        "{} has more than {} bytes and so is no configuration: give the path of a TOML file such as "
        "configs/small.toml",
        path, kLargestFileBytes);
  }
  return parse_config(text, path, settings);
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
  std::string out =
      "# Configuration\n\n"
      "A configuration is a TOML file: `[train]` and `steps = 120` there set what is called `train.steps` here, and "
      "so\n"
      "does `--set train.steps=120` on the command line, which needs no quotes around words. A later `--set` of the\n"
      "same key wins. What a file leaves out has its default; an unknown key is an error. The complete configuration\n"
      "of a run is stored in each of its checkpoints as `config.toml`.\n\n"
      "This page is written by the program from the fields of `dlcm/config/config.h`, and a test compares the two.\n"
      "After a change of the fields, write it again with\n"
      "`DLCM_WRITE_DOCS=1 build/release/tests/test_config --gtest_filter='ConfigurationPage.*'`.\n\n"
      "| key | default | values | meaning |\n|---|---|---|---|\n";
  for (const auto& [key, value, values, description] : config_entries(Config{})) {
    out += fmt::format("| `{}` | `{}` | {} | {} |\n", key, value, values, description);
  }
  return out;
}

}  // namespace dlcm
