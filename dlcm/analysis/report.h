// The report: one HTML page about one or more training runs that needs nothing but itself. Styles, scripts and the
// chart library are pasted in, and its content security policy forbids every request.
//
// All that is compared is counted here; the script in web/report.js only draws the numbers it is given.
#pragma once

#include "dlcm/analysis/run_record.h"

#include <string>
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

}  // namespace dlcm
