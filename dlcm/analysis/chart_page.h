// A page of sections with tables and charts that needs nothing but itself: what analyze, fit, plan and sweep write.
// The numbers of the charts are counted here; web/charts.js only draws them.
#pragma once

#include "dlcm/analysis/chart_data.h"

#include <optional>
#include <string>
#include <vector>

namespace dlcm {

struct ChartSeries {
  std::string name = {};
  std::vector<Point> points = {};  // in a chart with categories x is the index of one
  // Low and high of an interval about each point, as many as points; or none.
  std::vector<std::pair<double, double>> intervals = {};
  bool dashed = false;
  bool scattered = false;  // points without a line
  int64_t colour = -1;     // that of the series with this index; -1 takes its own
};

struct Chart {
  std::string title = {};
  std::string note = {};
  std::string x = {}, y = {};                // what the axes show, with units
  std::vector<std::string> categories = {};  // bars instead of lines
  std::vector<ChartSeries> series = {};
  bool logarithmic_x = false;
  bool logarithmic_y = false;
  bool wide = false;
  std::optional<double> y_begin = {}, y_end = {};
};

struct PageSection {
  std::string title;
  std::string html = {};  // before the charts
  std::vector<Chart> charts = {};
  std::string html_after = {};
};

struct ChartPage {
  std::string kind;  // "dlcm analyze"
  std::string title;
  std::vector<std::string> verdicts = {};  // sentences on top
  std::vector<PageSection> sections = {};
};

// Throws nothing; texts are escaped, PageSection's html is HTML already.
std::string chart_page(const ChartPage& page);

}  // namespace dlcm
