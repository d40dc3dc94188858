// Reading a mixture file.
#include "dlcm/data/mixture.h"
#include "dlcm/io/files.h"
#include "dlcm/util/edit_distance.h"
#include "dlcm/util/error.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

namespace dlcm {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kLargestFileBytes = int64_t{1} << 20;
constexpr size_t kMostSources = 256;

class MixtureFile {
 public:
  explicit MixtureFile(const std::string& path) : path_(path) {
    try {
      table_ = toml::parse(read_file(path, kLargestFileBytes), path);
    } catch (const toml::parse_error& error) {
      throw Error("{}:{}: not valid TOML: {}", path, error.source().begin.line, error.description());
    }
  }

  std::vector<MixtureEntry> entries() const {
    refuse_unknown(table_, {"source"});
    const auto* const sources = table_["source"].as_array();
    if (sources == nullptr || sources->empty() || sources->size() > kMostSources) {
      throw Error("{}: expected 1 to {} tables [[source]] with data and weight, found {}", path_, kMostSources,
                  sources == nullptr ? 0 : sources->size());
    }
    std::vector<MixtureEntry> entries;
    for (const auto& node : *sources) {
      entries.push_back(entry(node));
      for (size_t other = 0; other + 1 < entries.size(); ++other) {
        if (entries[other].name != entries.back().name) continue;
        throw Error("{}: expected sources of different names, found {} twice: give one of them a name", place(node),
                    entries.back().name);
      }
    }
    return entries;
  }

 private:
  std::string place(const toml::node& node) const { return fmt::format("{}:{}", path_, node.source().begin.line); }

  void refuse_unknown(const toml::table& table, const std::vector<std::string>& known) const {
    for (const auto& [key, value] : table) {
      if (std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
      throw Error("{}: unknown key {}; the nearest known one is {}", place(value), key.str(),
                  nearest_name(key.str(), known));
    }
  }

  std::string text(const toml::table& table, std::string_view key) const {
    const auto value = table[key].value_exact<std::string>();
    if (table.contains(key) && (!value || value->empty())) {
      throw Error("{}: {} expects a string in quotes that is not empty", place(*table.get(key)), key);
    }
    return value.value_or("");
  }

  MixtureEntry entry(const toml::node& node) const {
    const auto* const table = node.as_table();
    if (table == nullptr) throw Error("{}: source expects a table: begin it with [[source]]", place(node));
    refuse_unknown(*table, {"name", "data", "weight"});
    const auto data = text(*table, "data");
    if (data.empty()) throw Error("{}: expected data = \"DIRECTORY\" in this source, found none", place(node));
    const auto weight = (*table)["weight"].value<double>();
    if (!weight || !std::isfinite(*weight) || *weight <= 0) {
      throw Error("{}: expected a weight above 0 for {}, found {}", place(node), data,
                  weight ? fmt::format("{}", *weight) : "none");
    }
    auto directory = (fs::path(path_).parent_path() / data).lexically_normal();
    if (!directory.has_filename()) directory = directory.parent_path();
    const auto name = text(*table, "name");
    return {name.empty() ? directory.filename().string() : name, directory.string(), *weight};
  }

  std::string path_;
  toml::table table_;
};

}  // namespace

std::vector<MixtureEntry> read_mixture_file(const std::string& path) { return MixtureFile(path).entries(); }

}  // namespace dlcm
