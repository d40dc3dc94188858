#include "dlcm/sweep/sweep_page.h"

#include "dlcm/analysis/numbers.h"
#include "dlcm/analysis/table.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <map>
#include <set>

namespace dlcm {
namespace {

constexpr std::string_view kSeedAxis = "train.seed";

std::optional<double> as_number(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0' && std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::vector<std::string> axes_of(const std::vector<Row>& rows) {
  std::vector<std::string> axes;
  for (const auto& row : rows) {
    for (const auto& [name, label] : row["axes"].items()) {
      if (std::find(axes.begin(), axes.end(), name) == axes.end()) axes.push_back(name);
    }
  }
  return axes;
}

std::string label_of(const Row& row, const std::string& axis) { return row["axes"].value(axis, std::string()); }

// The last axis that has two or more values, all of them numbers, and is no seed.
std::optional<std::string> numeric_axis(const std::vector<Row>& rows, const std::vector<std::string>& axes) {
  for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
    if (*axis == kSeedAxis) continue;
    std::set<double> values;
    const bool numbers = std::all_of(rows.begin(), rows.end(), [&](const Row& row) {
      const auto value = as_number(label_of(row, *axis));
      if (value) values.insert(*value);
      return value.has_value();
    });
    if (numbers && values.size() > 1) return *axis;
  }
  return std::nullopt;
}

// "small, R 4": the labels of a row's axes but some.
std::string combination(const Row& row, const std::vector<std::string>& axes,
                        const std::vector<std::string>& left_out) {
  std::string name;
  for (const auto& axis : axes) {
    if (!row["axes"].contains(axis) || std::find(left_out.begin(), left_out.end(), axis) != left_out.end()) continue;
    const auto label = label_of(row, axis);
    name += (name.empty() ? "" : ", ") + (as_number(label) ? axis + " " + label : label);
  }
  return name;
}

struct Measured {
  double sum = 0.0, least = std::numeric_limits<double>::infinity(), most = -std::numeric_limits<double>::infinity();
  int64_t count = 0;
};

// Rows of the same labels but another configuration or other data are no repetitions: 2, 3, ... after the first.
std::vector<size_t> numbers_among_namesakes(const std::vector<Row>& rows) {
  std::map<std::string, std::vector<std::string>> trainings;  // by labels
  std::vector<size_t> numbers;
  for (const auto& row : rows) {
    auto& of_labels = trainings[combination(row, axes_of(rows), {std::string(kSeedAxis)})];
    const auto training = but_for_seed(row);
    const auto found = std::find(of_labels.begin(), of_labels.end(), training);
    numbers.push_back(static_cast<size_t>(found - of_labels.begin()) + 1);
    if (found == of_labels.end()) of_labels.push_back(training);
  }
  return numbers;
}

std::optional<Chart> chart_of(const std::vector<Row>& rows, const std::vector<size_t>& numbers,
                              const std::string& column, Chart chart) {
  const auto axes = axes_of(rows);
  const auto x_axis = numeric_axis(rows, axes);
  std::vector<std::string> left_out{std::string(kSeedAxis)};
  if (x_axis) left_out.push_back(*x_axis);
  std::vector<std::string> names;
  std::map<std::string, std::map<double, Measured>> lines;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto& row = rows[i];
    const auto value = number_of(row, column);
    if (!value) continue;
    auto name = combination(row, axes, left_out);
    if (numbers[i] > 1) name += fmt::format("{}({})", name.empty() ? "" : " ", numbers[i]);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    // Without an axis of numbers every combination is a bar.
    const double x = x_axis ? *as_number(label_of(row, *x_axis))
                            : static_cast<double>(std::find(names.begin(), names.end(), name) - names.begin());
    auto& measured = lines[x_axis ? name : ""][x];
    measured.sum += *value;
    measured.least = std::min(measured.least, *value);
    measured.most = std::max(measured.most, *value);
    ++measured.count;
  }
  if (lines.empty()) return std::nullopt;
  chart.x = x_axis.value_or("");
  if (!x_axis) chart.categories = names;
  double smallest = std::numeric_limits<double>::infinity(), largest = 0.0;
  const auto& order = x_axis ? names : std::vector<std::string>{""};
  for (const auto& name : order) {
    ChartSeries series{.name = name.empty() ? column : name};
    for (const auto& [x, measured] : lines[name]) {
      series.points.push_back({x, measured.sum / static_cast<double>(measured.count)});
      series.intervals.emplace_back(measured.least, measured.most);
      smallest = std::min(smallest, x);
      largest = std::max(largest, x);
    }
    chart.series.push_back(std::move(series));
  }
  chart.logarithmic_x = x_axis && smallest > 0.0 && largest / smallest >= 8.0;
  if (!x_axis) {
    // Bars from zero would hide the differences.
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (const auto& [low_of, high_of] : chart.series.front().intervals) {
      low = std::min(low, low_of);
      high = std::max(high, high_of);
    }
    chart.y_begin = low - 0.3 * std::max(high - low, 0.01 * high);
  }
  return chart;
}

Table rows_table(std::vector<Row> rows, const std::string& objective) {
  const auto worth = [&](const Row& row) {
    return number_of(row, objective).value_or(std::numeric_limits<double>::infinity());
  };
  std::stable_sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) { return worth(a) < worth(b); });
  const auto axes = axes_of(rows);
  auto columns = axes;
  for (const char* column :
       {"val_loss", "bits per byte", "tokens per concept", "N", "FLOPs a token", "minutes", "status"}) {
    columns.emplace_back(column);
  }
  Table table(columns);
  for (const auto& row : rows) {
    std::vector<std::string> cells;
    for (const auto& axis : axes) cells.push_back(label_of(row, axis));
    const auto shown = [&](const char* column, const auto& show) {
      const auto value = number_of(row, column);
      cells.push_back(value ? show(*value) : std::string(kNothing));
    };
    shown("val_loss", decimals(4));
    shown("val_bits_per_byte", decimals(4));
    shown("val_ratio", decimals(2));
    shown("non_embedding", quantity);
    shown("flops_per_token", quantity);
    shown("seconds", [](double seconds) { return decimals(1)(seconds / 60.0); });
    cells.push_back(row.value("status", ""));
    table.add(std::move(cells));
  }
  return table;
}

}  // namespace

bool is_sweep(const std::string& path) { return std::filesystem::exists(std::filesystem::path(path) / "rows.jsonl"); }

std::string rows_text(const std::vector<Row>& rows, const std::string& objective) {
  return rows_table(rows, objective).text();
}

ChartPage sweep_page(const std::vector<Row>& rows, const std::string& title) {
  ChartPage page{.kind = "dlcm sweep", .title = title};
  const Row* best = nullptr;
  for (const auto& row : rows) {
    const auto value = number_of(row, "val_loss");
    if (value && (best == nullptr || *value < *number_of(*best, "val_loss"))) best = &row;
  }
  const auto failed =
      std::count_if(rows.begin(), rows.end(), [](const Row& row) { return row.value("status", "") != "done"; });
  if (best != nullptr) {
    page.verdicts.push_back(fmt::format("{} runs; the least validation loss, {:.4f} nats per token, is that of {}.",
                                        rows.size(), *number_of(*best, "val_loss"),
                                        combination(*best, axes_of(rows), {})));
  } else {
    page.verdicts.push_back("No run is finished yet.");
  }
  if (failed > 0) page.verdicts.push_back(fmt::format("{} of them failed.", failed));
  // Sweeps that share an output may have other axes.
  std::vector<std::string> kinds;
  std::map<std::string, std::vector<Row>> by_axes;
  for (const auto& row : rows) {
    std::string kind;
    for (const auto& [name, label] : row["axes"].items()) kind += (kind.empty() ? "" : ", ") + name;
    auto& alike = by_axes[kind];
    if (alike.empty()) kinds.push_back(kind);
    alike.push_back(row);
  }
  bool namesakes = false;
  for (const auto& kind : kinds) {
    auto& alike = by_axes[kind];
    const auto heading = kinds.size() == 1 ? std::string() : ": " + kind;
    const auto numbers = numbers_among_namesakes(alike);
    namesakes |= std::any_of(numbers.begin(), numbers.end(), [](size_t number) { return number > 1; });
    PageSection charts{.title = "Results" + heading};
    for (auto& [column, chart] : std::vector<std::pair<std::string, Chart>>{
             {"val_loss",
              {.title = "Validation loss",
              .note = "Nats per token at the end of training.",
              .y = "nats per token",
              .wide = true}},
             {"val_bits_per_byte",
              {.title = "Bits per byte", .note = "Of text held out from training.", .y = "bits per byte"}},
             {"val_ratio",
              {.title = "Tokens per concept",
              .note = "In validation, at the stored threshold.",
              .y = "tokens per concept"}}}) {
      if (auto drawn = chart_of(alike, numbers, column, chart)) charts.charts.push_back(std::move(*drawn));
    }
    page.sections.push_back(std::move(charts));
    page.sections.push_back({.title = "Runs" + heading, .html = rows_table(alike, "val_loss").html("Runs")});
  }
  if (namesakes) {
    page.verdicts.push_back(
        "Some rows have the same labels but other settings or other data: (2), (3) and so on mark them in the charts, "
        "rows.jsonl has their configurations.");
  }
  return page;
}

}  // namespace dlcm
