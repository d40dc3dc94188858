// Runs a sweep: every run is a process of its own, so many at once, each in OUTPUT/runs/KEY.
//
// A run that has a row is not repeated. A sweep that was stopped goes on where it was: its runs resume from their
// checkpoints. SIGINT and SIGTERM let the running runs save and end; where the sweep itself is killed, they do the
// same.
#pragma once

#include "dlcm/sweep/rows.h"
#include "dlcm/sweep/spec.h"

#include <optional>
#include <string>
#include <vector>

namespace dlcm {

struct SweepRequest {
  SweepSpec spec;
  std::string data;     // data directory
  std::string output;   // directory of the rows and runs
  std::string program;  // the dlcm binary that trains
  bool retry_failed = false;
};

struct SweepResult {
  std::vector<Row> rows;      // of this sweep's points, in their order
  std::optional<Row> best;    // the least objective; none where no run is done
  int64_t trained = 0;        // runs that were finished this time
  bool complete = false;      // every point has a row: the budget was enough and nobody stopped it
  std::optional<int> signal;  // that stopped it
  std::string problem;        // runs that ended early, which is no result; empty where there are none
};

// Throws Error before anything is written where a configuration or the data cannot be used. A run that ends in a way
// that is no result (killed, disk full) has no row, and the others go on; one whose losses are no longer finite is a
// failed row. In a descent a neighbour whose configuration cannot be is none.
SweepResult run_sweep(const SweepRequest& request);

}  // namespace dlcm
