#include "dlcm/sweep/rows.h"

#include "dlcm/analysis/table.h"
#include "dlcm/io/checkpoint_store.h"
#include "dlcm/io/files.h"
#include "dlcm/io/hash.h"
#include "dlcm/io/metrics.h"
#include "dlcm/model/flops.h"
#include "dlcm/util/error.h"

#include <algorithm>
#include <filesystem>

namespace dlcm {
namespace {

namespace fs = std::filesystem;

constexpr size_t kKeyDigits = 16;
constexpr double kLastShare = 0.02;

std::string data_of(const Row& row) {
  return row.at("data_hash").get<std::string>() + row.at("validation_hash").get<std::string>();
}

std::string key_of(const Row& row) {
  try {
    return run_key(parse_config(row.at("config").get<std::string>(), "row"), data_of(row));
  } catch (const std::exception&) {
    return row.value("key", "");  // of a configuration that is no longer known: nothing is compared with it
  }
}

// What the pages and tables read from a row has the type that make_row gives it.
bool is_row(const Row& row) {
  if (!row.is_object()) return false;
  for (const char* text : {"key", "status", "run", "config", "data_hash"}) {
    if (!row.contains(text) || !row[text].is_string()) return false;
  }
  const auto axes = row.find("axes");
  return axes != row.end() && axes->is_object() &&
         std::all_of(axes->begin(), axes->end(), [](const Row& label) { return label.is_string(); });
}

std::string cell(const Row& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return csv_number(value.get<double>());
  return value.dump();
}

}  // namespace

std::string run_key(const Config& config, const std::string& data_hash) {
  auto counted = config;
  const Config defaults;
  counted.train.threads = defaults.train.threads;
  counted.train.log_every_steps = defaults.train.log_every_steps;
  counted.train.workers = defaults.train.workers;
  counted.checkpoint = defaults.checkpoint;
  return hash_bytes(to_toml(counted) + data_hash).substr(0, kKeyDigits);
}

Row axes_of(const SweepPoint& point) {
  auto axes = Row::object();
  for (const auto& [axis, label] : point.labels) axes[axis] = label;
  return axes;
}

Row make_row(const SweepPoint& point, const std::string& key, const RunOrigin& origin, const std::string& run,
             const std::string& run_directory, const std::string& problem) {
  const auto& config = point.config;
  const auto count = count_parameters(config);
  const double flops = kTrainingFlopsPerForward * expected_flops_per_token(config).total();
  const auto tokens = static_cast<double>(config.train.steps * config.train.tokens_per_step);
  Row row{{"key", key}, {"axes", axes_of(point)}, {"status", problem.empty() ? "done" : "failed"}};
  if (!problem.empty()) row["problem"] = problem;
  row["seed"] = config.train.seed;
  row["steps"] = config.train.steps;
  row["tokens"] = config.train.steps * config.train.tokens_per_step;
  row["parameters"] = count.total();
  row["non_embedding"] = count.non_embedding();
  const bool has_concepts = config.model.kind == ModelKind::dlcm;
  row["backbone_share"] = has_concepts ? Row(count.backbone_share()) : Row();
  row["target_ratio"] = has_concepts ? Row(config.parser.ratio) : Row();
  row["flops_per_token"] = flops;
  row["flops"] = flops * tokens;
  if (fs::exists(fs::path(run_directory) / "metrics.jsonl")) {
    double sum = 0.0, steps = 0.0;
    nlohmann::json validation;
    for (const auto& line : read_metrics((fs::path(run_directory) / "metrics.jsonl").string())) {
      if (line.contains("val_loss")) validation = line;
      if (line.contains("seconds")) row["seconds"] = line["seconds"];
      const auto loss = line.find("loss");
      if (loss == line.end() || !loss->is_number()) continue;
      if (line.value("step", 0.0) <= (1.0 - kLastShare) * static_cast<double>(config.train.steps)) continue;
      sum += loss->get<double>();
      ++steps;
    }
    row["train_loss"] = steps > 0.0 ? Row(sum / steps) : Row();
    for (const auto& [name, value] : validation.items()) {
      if (name.starts_with("val_")) row[name] = value;
    }
  }
  // What `auto` became on the machine that trained it.
  const auto checkpoints = complete_checkpoints(run_directory);
  const auto precision =
      checkpoints.empty() ? config.train.precision : load_config(checkpoints.back() + "/config.toml").train.precision;
  row["precision"] = name_of(precision);
  row["program"] = origin.program_hash;
  row["run"] = run;
  row["data_hash"] = origin.data_hash;
  row["validation_hash"] = origin.validation_hash;
  row["config"] = to_toml(config);
  return row;
}

std::optional<double> number_of(const Row& row, const std::string& column) {
  const auto found = row.find(column);
  if (row.value("status", "") != "done" || found == row.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

RowStore::RowStore(const std::string& output) : output_(output) {
  const auto path = (fs::path(output) / "rows.jsonl").string();
  if (!fs::exists(path)) return;
  const auto text = read_file(path);
  size_t begin = 0;
  for (int64_t line = 1; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    auto row = Row::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                          text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, /*allow_exceptions=*/false);
    if (!is_row(row)) {
      throw Error("{}:{}: expected a row that `dlcm sweep` wrote, found another line: take it out", path, line);
    }
    keys_.push_back(key_of(row));
    rows_.push_back(std::move(row));
    begin = end + 1;
  }
}

const Row* RowStore::find(const std::string& key) const {
  const auto found = std::find(keys_.begin(), keys_.end(), key);
  return found == keys_.end() ? nullptr : &rows_[static_cast<size_t>(found - keys_.begin())];
}

void RowStore::put(const Row& row) {
  const auto key = key_of(row);
  const auto found = std::find(keys_.begin(), keys_.end(), key);
  if (found == keys_.end()) {
    keys_.push_back(key);
    rows_.push_back(row);
  } else {
    rows_[static_cast<size_t>(found - keys_.begin())] = row;
  }
  write();
}

void RowStore::remove(const Row& row) {
  const auto index = &row - rows_.data();
  rows_.erase(rows_.begin() + index);
  keys_.erase(keys_.begin() + index);
  write();
}

void RowStore::write() const {
  std::string text;
  for (const auto& one : rows_) text += one.dump(-1, ' ', false, Row::error_handler_t::replace) + "\n";
  write_file_synced((fs::path(output_) / "rows.jsonl").string(), text);
  write_file_synced((fs::path(output_) / "rows.csv").string(), rows_csv(rows_));
}

std::string but_for_seed(const Row& row) {
  try {
    auto config = parse_config(row.at("config").get<std::string>(), "row");
    config.train.seed = 0;
    return run_key(config, data_of(row));
  } catch (const std::exception&) {
    return row.value("key", "");
  }
}

std::string rows_csv(const std::vector<Row>& rows) {
  std::vector<std::string> axes, columns;
  const auto add = [](std::vector<std::string>& names, const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  for (const auto& row : rows) {
    for (const auto& [name, label] : row["axes"].items()) add(axes, name);
    for (const auto& [name, value] : row.items()) {
      if (name != "key" && name != "axes" && name != "config") add(columns, name);
    }
  }
  std::vector<std::string> headings{"key"};
  for (const auto& axis : axes) headings.push_back("axis " + axis);
  headings.insert(headings.end(), columns.begin(), columns.end());
  Table table(headings);
  for (const auto& row : rows) {
    std::vector<std::string> cells{row.value("key", "")};
    for (const auto& axis : axes) cells.push_back(row["axes"].contains(axis) ? cell(row["axes"][axis]) : "");
    for (const auto& column : columns) cells.push_back(row.contains(column) ? cell(row[column]) : "");
    table.add(std::move(cells));
  }
  return table.csv();
}

}  // namespace dlcm
