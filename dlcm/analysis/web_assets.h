// The files of web/ and the chart library, as they were when dlcm was built.
#pragma once

#include <string_view>

namespace dlcm::web_assets {

std::string_view base_style();     // web/base.css, which every page begins its style with
std::string_view report_page();    // web/report.html, with {{places}} to fill
std::string_view report_style();   // web/report.css
std::string_view report_script();  // web/report.js
std::string_view charts_page();    // web/charts.html, with {{places}} to fill
std::string_view charts_script();  // web/charts.js
std::string_view serve_page();     // web/serve.html, with {{places}} to fill
std::string_view serve_style();    // web/serve.css
std::string_view serve_script();   // web/serve.js
std::string_view chart_script();   // Chart.js, minified
std::string_view chart_licence();  // web/chart-licence.txt

}  // namespace dlcm::web_assets
