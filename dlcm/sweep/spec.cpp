#include "dlcm/sweep/spec.h"

#include "dlcm/io/files.h"
#include "dlcm/util/edit_distance.h"
#include "dlcm/util/error.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>

namespace dlcm {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostRuns = 100000;

// Columns of every finished row that are numbers.
const std::vector<std::string> kObjectives{"val_loss",          "val_bits_per_byte", "val_ratio",     "val_ratio_half",
                                           "val_ratio_sampled", "val_ratio_p10",     "val_ratio_p50", "val_ratio_p90",
                                           "train_loss",        "seconds",           "tokens",        "parameters",
                                           "non_embedding",     "flops_per_token",   "flops"};

// Reads one table and names what is wrong with it.
class Reader {
 public:
  Reader(const toml::table& table, std::string path, std::string name, std::vector<std::string> keys)
      : table_(table), path_(std::move(path)), name_(std::move(name)) {
    for (const auto& [key, value] : table_) {
      if (std::find(keys.begin(), keys.end(), key.str()) != keys.end()) continue;
      throw Error("{}: unknown key {}{}; the nearest known one is {}", place(value), name_, key.str(),
                  nearest_name(key.str(), keys));
    }
  }

  std::string place(const toml::node& node) const { return fmt::format("{}:{}", path_, node.source().begin.line); }

  [[noreturn]] void fail(std::string_view key, std::string_view expected) const {
    const auto* node = table_.get(key);
    throw Error("{}: {}{} expects {}", node ? place(*node) : path_, name_, key, expected);
  }

  bool has(std::string_view key) const { return table_.contains(key); }

  template <typename Value>
  Value value(std::string_view key, Value otherwise, std::string_view expected) const {
    const auto* node = table_.get(key);
    if (node == nullptr) return otherwise;
    const auto value = node->value_exact<Value>();
    if (!value) fail(key, expected);
    return *value;
  }

  double number(std::string_view key, double otherwise) const {
    const auto* node = table_.get(key);
    if (node == nullptr) return otherwise;
    const auto value = node->is_number() ? node->value<double>() : std::nullopt;
    if (!value || !(*value > 0.0)) fail(key, "a number above 0");
    return *value;
  }

  int64_t count(std::string_view key, int64_t otherwise) const {
    const auto count = value<int64_t>(key, otherwise, "a whole number above 0");
    if (count < 1) fail(key, "a whole number above 0");
    return count;
  }

  // A list that is not empty; nothing where the key is not there.
  const toml::array* list(std::string_view key) const {
    const auto* node = table_.get(key);
    if (node == nullptr) return nullptr;
    const auto* array = node->as_array();
    if (array == nullptr || array->empty()) fail(key, "a list that is not empty");
    return array;
  }

  std::vector<std::string> strings(std::string_view key) const {
    std::vector<std::string> texts;
    const auto* array = list(key);
    for (size_t i = 0; array != nullptr && i < array->size(); ++i) {
      const auto text = (*array)[i].value_exact<std::string>();
      if (!text) fail(key, "a list of strings");
      texts.push_back(*text);
    }
    return texts;
  }

 private:
  const toml::table& table_;
  std::string path_, name_;
};

// The run's own key leaves these out, so values of them would be one run under several names.
void refuse_what_changes_nothing(const Reader& reader, std::string_view where, const std::vector<std::string>& keys) {
  for (const auto& key : keys) {
    if (key == "train.threads" || key == "train.workers" || key == "train.log_every_steps" ||
        key.starts_with("checkpoint.")) {
      reader.fail(where,
                  fmt::format("keys that change a result, which {} does not: for all runs it can stand in `set`, "
                              "threads in `threads`",
                              key));
    }
  }
}

// A TOML value as --set takes it.
std::string written(const toml::node& node) {
  std::ostringstream text;
  node.visit([&](const auto& element) {
    if constexpr (toml::is_value<decltype(element)>) text << element;
  });
  return text.str();
}

// The same without the quotes of a string, for people.
std::string shown(const toml::node& node) {
  const auto text = node.value_exact<std::string>();
  return text ? *text : written(node);
}

std::string beside(const std::string& path, const std::string& file) {
  return fs::path(file).is_absolute() ? file : (fs::path(path).parent_path() / file).lexically_normal().string();
}

SweepAxis read_axis(const toml::table& table, const std::string& path, size_t index) {
  const Reader reader(table, path, fmt::format("axis {}: ", index + 1),
                      {"name", "key", "keys", "multiply", "config", "values", "labels"});
  SweepAxis axis;
  auto keys = reader.strings("keys");
  if (reader.has("key")) keys.push_back(reader.value<std::string>("key", "", "a key such as \"train.seed\""));
  refuse_what_changes_nothing(reader, reader.has("key") ? "key" : "keys", keys);
  axis.multiply = reader.strings("multiply");
  const auto configs = reader.strings("config");
  if ((keys.empty() ? 0 : 1) + (axis.multiply.empty() ? 0 : 1) + (configs.empty() ? 0 : 1) != 1) {
    reader.fail("keys", "to be the only one of key or keys, multiply and config in an axis");
  }
  axis.name = reader.value<std::string>("name", keys.empty() ? "" : keys.front(), "a name");
  if (axis.name.empty()) reader.fail("name", "a name");
  const auto* values = reader.list("values");
  if ((values == nullptr) != !configs.empty()) reader.fail("values", "a list, except in an axis of config files");
  for (const auto& config : configs) {
    axis.values.push_back({fs::path(config).stem().string(), beside(path, config), {}, 1.0});
  }
  for (size_t i = 0; values != nullptr && i < values->size(); ++i) {
    const auto& node = (*values)[i];
    AxisValue value;
    if (!axis.multiply.empty()) {
      const auto factor = node.is_number() ? node.value<double>() : std::nullopt;
      if (!factor || !(*factor > 0.0)) reader.fail("values", "factors above 0 in an axis that multiplies");
      value.factor = *factor;
      value.label = fmt::format("{:g}", *factor);
    } else {
      const auto* row = node.as_array();
      if (row == nullptr ? keys.size() != 1 : row->size() != keys.size()) {
        reader.fail("values", fmt::format("{} values in each entry, one for each key", keys.size()));
      }
      for (size_t k = 0; k < keys.size(); ++k) {
        const auto& element = row == nullptr ? node : (*row)[k];
        if (element.is_array() || element.is_table()) reader.fail("values", "numbers, words, true or false");
        value.settings.push_back(fmt::format("{}={}", keys[k], written(element)));
        if (k == 0) value.label = shown(element);
      }
    }
    axis.values.push_back(std::move(value));
  }
  const auto labels = reader.strings("labels");
  if (!labels.empty() && labels.size() != axis.values.size()) reader.fail("labels", "as many labels as values");
  for (size_t i = 0; i < labels.size(); ++i) axis.values[i].label = labels[i];
  std::set<std::string> distinct;
  for (const auto& value : axis.values) distinct.insert(value.label);
  if (distinct.size() != axis.values.size()) reader.fail("labels", "a different label for each value");
  return axis;
}

// The settings that multiply the keys' values in `config`.
std::vector<std::string> multiplied(const Config& config, const std::vector<std::string>& keys, double factor) {
  const auto entries = config_entries(config);
  std::vector<std::string> settings;
  for (const auto& key : keys) {
    const auto found =
        std::find_if(entries.begin(), entries.end(), [&](const ConfigEntry& entry) { return entry.key == key; });
    if (found == entries.end()) {
      std::vector<std::string> known;
      for (const auto& entry : entries) {
        if (entry.values == "number") known.push_back(entry.key);
      }
      throw Error("an axis multiplies the unknown key {}; the nearest known number is {}", key,
                  nearest_name(key, known));
    }
    if (found->values != "number") {
      throw Error(
          "an axis multiplies {}, which takes {}: only keys that take any number can be multiplied, give the "
          "values of others in `values`",
          key, found->values);
    }
    settings.push_back(fmt::format("{}={}", key, std::strtod(found->value.c_str(), nullptr) * factor));
  }
  return settings;
}

}  // namespace

SweepSpec load_sweep(const std::string& path) {
  toml::table file;
  try {
    file = toml::parse(read_file(path, int64_t{1} << 20), path);
  } catch (const toml::parse_error& error) {
    throw Error("{}:{}: not valid TOML: {}", path, error.source().begin.line, error.description());
  }
  const Reader reader(
      file, path, "",
      {"base", "set", "method", "objective", "budget", "axis", "runs_at_once", "threads", "keep_checkpoints"});
  SweepSpec spec;
  spec.path = path;
  if (!reader.has("base")) reader.fail("base", "the file of a configuration");
  spec.base = beside(path, reader.value<std::string>("base", "", "the file of a configuration"));
  spec.settings = reader.strings("set");
  const auto method = reader.value<std::string>("method", "grid", "\"grid\" or \"descent\"");
  if (method != "grid" && method != "descent") reader.fail("method", "\"grid\" or \"descent\"");
  spec.method = method == "grid" ? SweepMethod::grid : SweepMethod::descent;
  spec.objective = reader.value<std::string>("objective", spec.objective, "a column of the rows");
  if (std::find(kObjectives.begin(), kObjectives.end(), spec.objective) == kObjectives.end()) {
    reader.fail("objective", fmt::format("a column of the rows that is a number; the nearest one is {}",
                                         nearest_name(spec.objective, kObjectives)));
  }
  spec.runs_at_once = reader.count("runs_at_once", spec.runs_at_once);
  spec.threads = reader.count("threads", spec.threads);
  spec.keep_checkpoints = reader.value<bool>("keep_checkpoints", true, "true or false");
  if (reader.has("budget")) {
    const auto* table = file["budget"].as_table();
    if (table == nullptr) reader.fail("budget", "a table with runs or hours");
    const Reader budget(*table, path, "budget.", {"runs", "hours"});
    spec.most_runs = budget.count("runs", spec.most_runs);
    spec.most_hours = budget.number("hours", spec.most_hours);
  }
  const auto* axes = reader.list("axis");
  if (axes == nullptr) reader.fail("axis", "one table [[axis]] or more");
  std::set<std::string> names;
  size_t runs = 1;
  for (size_t i = 0; i < axes->size(); ++i) {
    const auto* table = (*axes)[i].as_table();
    if (table == nullptr) reader.fail("axis", "tables [[axis]]");
    spec.axes.push_back(read_axis(*table, path, i));
    const auto& axis = spec.axes.back();
    if (!names.insert(axis.name).second) reader.fail("axis", fmt::format("one axis named {}", axis.name));
    runs = std::min(kMostRuns + 1, runs * axis.values.size());
    const bool is_config = !axis.values.front().config.empty();
    if (is_config && i > 0) reader.fail("axis", "the axis of config files to come first");
  }
  if (spec.method == SweepMethod::grid && runs > kMostRuns) {
    reader.fail("axis", fmt::format("at most {} combinations", kMostRuns));
  }
  return spec;
}

SweepPoint sweep_point(const SweepSpec& spec, const std::vector<size_t>& choices, const std::vector<double>& factors) {
  SweepPoint point;
  std::string base = spec.base, name;
  auto settings = spec.settings;
  for (size_t i = 0; i < spec.axes.size(); ++i) {
    const auto& axis = spec.axes[i];
    const auto& value = axis.values[choices[i]];
    if (!value.config.empty()) base = value.config;
    settings.insert(settings.end(), value.settings.begin(), value.settings.end());
    const bool scaled = !axis.multiply.empty() && factors[i] != 1.0;
    point.labels.emplace_back(axis.name, scaled ? fmt::format("{:.6g}", factors[i] * value.factor) : value.label);
    name += (i == 0 ? "" : ", ") + axis.name + " = " + point.labels.back().second;
  }
  try {
    point.config = load_config(base, settings);
    for (size_t i = 0; i < spec.axes.size(); ++i) {
      const auto& axis = spec.axes[i];
      if (axis.multiply.empty()) continue;
      const double factor = axis.values[choices[i]].factor * factors[i];
      point.config = parse_config(to_toml(point.config), base, multiplied(point.config, axis.multiply, factor));
    }
  } catch (const Error& error) {
    throw Error("{}: the run with {} cannot be: {}", spec.path, name, error.what());
  }
  return point;
}

std::vector<SweepPoint> grid_points(const SweepSpec& spec) {
  std::vector<SweepPoint> points;
  std::vector<size_t> choices(spec.axes.size(), 0);
  const std::vector<double> factors(spec.axes.size(), 1.0);
  while (true) {
    points.push_back(sweep_point(spec, choices, factors));
    size_t axis = choices.size();
    while (axis > 0 && ++choices[axis - 1] == spec.axes[axis - 1].values.size()) choices[--axis] = 0;
    if (axis == 0) return points;
  }
}

}  // namespace dlcm
