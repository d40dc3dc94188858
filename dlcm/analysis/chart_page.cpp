#include "dlcm/analysis/chart_page.h"

#include "dlcm/analysis/html.h"
#include "dlcm/analysis/web_assets.h"
#include "dlcm/util/utf8.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>

namespace dlcm {
namespace {

using nlohmann::ordered_json;

ordered_json drawn(const Chart& chart) {
  auto series = ordered_json::array();
  for (const auto& one : chart.series) {
    auto points = ordered_json::array();
    auto intervals = ordered_json::array();
    for (const auto& point : one.points) points.push_back({drawn_number(point.x), drawn_number(point.y)});
    for (const auto& [low, high] : one.intervals) intervals.push_back({drawn_number(low), drawn_number(high)});
    series.push_back({{"name", valid_utf8(one.name)},
                      {"points", points},
                      {"intervals", intervals},
                      {"dashed", one.dashed},
                      {"scattered", one.scattered},
                      {"colour", one.colour}});
  }
  ordered_json json{{"x", chart.x},
                    {"y", chart.y},
                    {"logarithmic_x", chart.logarithmic_x},
                    {"logarithmic_y", chart.logarithmic_y},
                    {"y_begin", chart.y_begin ? drawn_number(*chart.y_begin) : ordered_json()},
                    {"y_end", chart.y_end ? drawn_number(*chart.y_end) : ordered_json()},
                    {"series", series}};
  for (const auto& category : chart.categories) json["categories"].push_back(valid_utf8(category));
  return json;
}

std::string verdicts_html(const std::vector<std::string>& verdicts) {
  if (verdicts.empty()) return "";
  if (verdicts.size() == 1) return fmt::format("<p class=\"verdict\">{}</p>\n", escape_html(verdicts.front()));
  std::string html = "<ul class=\"verdict\">\n";
  for (const auto& verdict : verdicts) html += fmt::format("<li>{}</li>\n", escape_html(verdict));
  return html + "</ul>\n";
}

}  // namespace

std::string chart_page(const ChartPage& page) {
  std::string sections, links;
  auto charts = ordered_json::array();
  for (size_t i = 0; i < page.sections.size(); ++i) {
    const auto& section = page.sections[i];
    links += fmt::format("<a href=\"#section-{}\">{}</a> ", i, escape_html(section.title));
    sections +=
        fmt::format("<section id=\"section-{0}\" aria-labelledby=\"title-{0}\">\n<h2 id=\"title-{0}\">{1}</h2>\n", i,
                    escape_html(section.title));
    sections += section.html;
    if (!section.charts.empty()) sections += "<div class=\"charts\">\n";
    for (const auto& chart : section.charts) {
      sections += fmt::format("<figure data-chart=\"{}\"{}><figcaption><h3>{}</h3><p>{}</p></figcaption></figure>\n",
                              charts.size(), chart.wide ? " class=\"wide\"" : "", escape_html(chart.title),
                              escape_html(chart.note));
      charts.push_back(drawn(chart));
    }
    if (!section.charts.empty()) sections += "</div>\n";
    sections += section.html_after + "</section>\n";
  }
  return filled_template(web_assets::charts_page(),
                         {{"kind", escape_html(page.kind)},
                          {"title", escape_html(page.title)},
                          {"style", std::string(web_assets::base_style()) + std::string(web_assets::report_style())},
                          {"verdicts", verdicts_html(page.verdicts)},
                          {"links", links},
                          {"sections", sections},
                          {"licence", escape_html(web_assets::chart_licence())},
                          {"data", escape_script(charts.dump())},
                          {"chart_script", std::string(web_assets::chart_script())},
                          {"script", std::string(web_assets::charts_script())}});
}

}  // namespace dlcm
