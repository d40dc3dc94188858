#include "dlcm/analysis/table.h"

#include "dlcm/analysis/html.h"
#include "dlcm/util/utf8.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace dlcm {
namespace {

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

std::string csv_line(const std::vector<std::string>& cells) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) line += (i == 0 ? "" : ",") + csv_cell(cells[i]);
  return line + "\n";
}

// Characters of a text, for columns; wide ones count as one.
size_t characters(const std::string& text) {
  size_t count = 0;
  for (std::string_view rest = text; !rest.empty(); ++count) rest.remove_prefix(std::max<size_t>(1, utf8_length(rest)));
  return count;
}

std::string spaces(size_t count) { return std::string(count, ' '); }

}  // namespace

Table::Table(std::vector<std::string> columns, std::vector<std::string> headings)
    : columns_(std::move(columns)), headings_(headings.empty() ? columns_ : std::move(headings)) {
  TORCH_CHECK(columns_.size() == headings_.size(), "Table: as many headings as columns");
}

void Table::add(std::vector<std::string> cells, std::vector<std::string> shown) {
  TORCH_CHECK(cells.size() == columns_.size() && (shown.empty() || shown.size() == cells.size()),
              "Table: a row has as many cells as there are columns");
  shown_.push_back(shown.empty() ? cells : std::move(shown));
  cells_.push_back(std::move(cells));
}

std::string Table::csv() const {
  auto text = csv_line(columns_);
  for (const auto& row : cells_) text += csv_line(row);
  return text;
}

std::string Table::html(std::string_view label) const {
  auto text = fmt::format("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table><thead><tr>",
                          escape_html(label));
  for (const auto& heading : headings_) text += fmt::format("<th scope=\"col\">{}</th>", escape_html(heading));
  text += "</tr></thead>\n<tbody>\n";
  for (const auto& row : shown_) {
    for (size_t i = 0; i < row.size(); ++i) {
      text += i == 0 ? fmt::format("<tr><th scope=\"row\">{}</th>", escape_html(row[i]))
                     : fmt::format("<td>{}</td>", escape_html(row[i]));
    }
    text += "</tr>\n";
  }
  return text + "</tbody></table></div>\n";
}

std::string Table::text() const {
  std::vector<size_t> widths;
  for (const auto& heading : headings_) widths.push_back(characters(heading));
  for (const auto& row : shown_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], characters(row[i]));
  }
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string shown;
    for (size_t i = 0; i < cells.size(); ++i) {
      const auto gap = spaces(widths[i] - characters(cells[i]));
      shown += i == 0 ? cells[i] + gap : "  " + gap + cells[i];
    }
    shown.erase(shown.find_last_not_of(' ') + 1);
    return shown + "\n";
  };
  auto text = line(headings_);
  for (const auto& row : shown_) text += line(row);
  return text;
}

std::string csv_number(double value) { return std::isfinite(value) ? fmt::format("{:.9g}", value) : std::string(); }

}  // namespace dlcm
