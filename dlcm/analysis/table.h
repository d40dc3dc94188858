// A table of results, written once: as CSV for programs, as HTML for a page, as text for a terminal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

class Table {
 public:
  // `columns`: the names that CSV has; `headings`, as many or none, the words that people read.
  explicit Table(std::vector<std::string> columns, std::vector<std::string> headings = {});

  // Cells for programs and, where they differ, for people; as many as columns.
  void add(std::vector<std::string> cells, std::vector<std::string> shown = {});
  size_t rows() const { return cells_.size(); }

  // RFC 4180 with "\n" line ends: cells with commas, quotes or line ends are quoted.
  std::string csv() const;
  // In a box of its own that scrolls; `label` says what it holds.
  std::string html(std::string_view label) const;
  // Columns side by side, the first to the left, the others to the right.
  std::string text() const;

 private:
  std::vector<std::string> columns_, headings_;
  std::vector<std::vector<std::string>> cells_, shown_;
};

// A number in a CSV cell: the shortest text that reads back to nearly the same (9 significant digits); empty where it
// is not finite.
std::string csv_number(double value);

}  // namespace dlcm
