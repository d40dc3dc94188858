// What a sweep runs, described in one TOML file: a base configuration, axes, a budget (docs/experiments.md has an
// example).
#pragma once

#include "dlcm/config/config.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace dlcm {

enum class SweepMethod { grid, descent };

// One value of an axis. A factor is applied to the base's own value, or in a descent to the best so far.
struct AxisValue {
  std::string label;
  std::string config;                 // an `config` axis: this file in place of the base
  std::vector<std::string> settings;  // a `keys` axis: "train.seed=2"
  double factor = 1.0;                // a `multiply` axis
};

struct SweepAxis {
  std::string name;
  std::vector<std::string> multiply;  // keys of a `multiply` axis; empty for the others
  std::vector<AxisValue> values;
};

struct SweepSpec {
  std::string path;
  std::string base;                   // the file of the base configuration
  std::vector<std::string> settings;  // over it, for all runs
  SweepMethod method = SweepMethod::grid;
  std::string objective = "val_loss";  // a column of the rows; the least is best
  std::vector<SweepAxis> axes;
  int64_t most_runs = std::numeric_limits<int64_t>::max();
  double most_hours = std::numeric_limits<double>::infinity();
  int64_t runs_at_once = 2;
  int64_t threads = 1;  // of each run
  bool keep_checkpoints = true;
};

// Paths in the file are relative to its folder. Throws Error naming the line and the key.
SweepSpec load_sweep(const std::string& path);

// What one run of a sweep is called and trained with.
struct SweepPoint {
  std::vector<std::pair<std::string, std::string>> labels;  // by axis, in the order of the axes
  Config config;
  std::string key = {};  // the sweep's name of it, once the data are known: run_key
};

// The point where each axis i stands at choices[i] (an index of its values), its factors multiplied by factors[i].
// Throws Error where the configuration cannot be, naming the point.
SweepPoint sweep_point(const SweepSpec& spec, const std::vector<size_t>& choices, const std::vector<double>& factors);

// Every combination, the last axis changing fastest.
std::vector<SweepPoint> grid_points(const SweepSpec& spec);

}  // namespace dlcm
