// The report's table of runs: a row a fact, a column a run and, for two runs, one for their difference.
#pragma once

#include "dlcm/analysis/run_record.h"

#include <string>
#include <vector>

namespace dlcm {

// The colour of a run, as an attribute of an element.
std::string colour_of(size_t run);
// The name of a run beside its colour.
std::string run_heading(const std::vector<RunRecord>& runs, size_t run);

// A paragraph beside a table or a chart.
std::string note(std::string_view text);

// The table with its notes, as HTML.
std::string run_table(const std::vector<RunRecord>& runs);

}  // namespace dlcm
