// The report: one HTML page about one or more training runs that needs nothing but itself. Styles, scripts and the
// chart library are pasted in, and its content security policy forbids every request.
//
// All that is compared is counted here; the script in web/report.js only draws the numbers it is given.
#pragma once

#include "dlcm/analysis/run_record.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

// What a run's newest checkpoint made of the report's texts and prompts.
struct RunSamples {
  std::vector<std::string> segmentations;  // HTML, one a text of Report::texts; empty for a model without concepts
  std::vector<std::string> continuations;  // plain text, one a prompt of Report::prompts
  std::string problem;                     // why there are none; empty where there are
};

struct SampleText {
  std::string title;
  std::string text;
};

struct Report {
  std::vector<RunRecord> runs;      // at least one
  std::vector<RunSamples> samples;  // one a run
  std::vector<SampleText> texts;
  std::vector<std::string> prompts;
};

// The page. Every text of the report is escaped except RunSamples::segmentations, which is HTML already.
std::string report_page(const Report& report);

// ---- its parts, for tests

// Text as HTML that is safe between tags and in quoted attributes; bytes that are no UTF-8 become U+FFFD.
std::string escape_html(std::string_view text);

// JSON text as content of a <script> element: no "<" is left.
std::string escape_script(std::string_view json);

struct Point {
  double x = 0.0;
  double y = 0.0;
};

// At most `most` points: the means of runs of neighbours of nearly equal number. Points that are not finite are left
// out; what is few enough stays as it is.
std::vector<Point> averaged(const std::vector<Point>& points, size_t most);

// A difference of bits per byte within this share of the reference's is called level.
inline constexpr double kLevelShare = 0.002;

// "After 1.23 M tokens, a (DLCM) reads 2.310 bits per byte and b (baseline) 2.290: the baseline is ahead by 0.9 %.":
// bits per byte at the last validation that both runs made after the same number of tokens. Losses per token are never
// compared, since tokenizers may differ; where they do, the sentence says so.
std::string verdict(const RunRecord& run, const RunRecord& reference);

// "small spends 12 % more FLOPs per token than small-llama."; empty where one of them is unknown.
std::string flops_verdict(const RunRecord& run, const RunRecord& reference);

// The run that the others are held against: the first baseline, or the first run where there is none.
size_t reference_run(const std::vector<RunRecord>& runs);

// "1.23 M", "45.6 k", "812": three significant digits. Its spaces, like duration's, break no line (U+00A0).
std::string quantity(double value);
// "1 h 05 min", "3 min 20 s", "12 s".
std::string duration(double seconds);

}  // namespace dlcm
