// The results of a sweep: one row a finished run, in OUTPUT/rows.jsonl and OUTPUT/rows.csv.
#pragma once

#include "dlcm/sweep/spec.h"

#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <vector>

namespace dlcm {

// Identifies a run: 16 hexadecimal digits of the hash of its configuration and of its data. What changes no result is
// left out: train.threads and train.workers (they change the rounding alone), train.log_every_steps, checkpoint.*.
// `data_hash` is of the training and the validation text.
std::string run_key(const Config& config, const std::string& data_hash);

// One row: `key`, `axes` (label by axis), `status` (done, failed), `problem`, what the run is (seed, steps, tokens,
// parameters, non_embedding, backbone_share, target_ratio, flops_per_token, flops), what came out of it (train_loss:
// the mean over the logged ones of the last 2 % of the steps; every val_* field of the last validation; seconds), how
// it was trained (`precision` of the matrix products, where its checkpoint tells; `program`, a hash of the binary),
// `run` (its directory below the sweep's), `data_hash`, `validation_hash` and `config` (TOML).
using Row = nlohmann::ordered_json;

// Where a point lies: its label by axis.
Row axes_of(const SweepPoint& point);

// What the runs of one sweep are trained on and by.
struct RunOrigin {
  std::string data_hash, validation_hash, program_hash = {};
};

// The row of a finished run from its metrics; `problem` is why it failed, or empty.
Row make_row(const SweepPoint& point, const std::string& key, const RunOrigin& origin, const std::string& run,
             const std::string& run_directory, const std::string& problem);

// A column of a row as a number; none where it is missing, null, or the run failed.
std::optional<double> number_of(const Row& row, const std::string& column);

class RowStore {
 public:
  // Reads OUTPUT/rows.jsonl where there is one. Throws Error where it is damaged.
  explicit RowStore(const std::string& output);

  // The row of a run with this key. Keys are counted anew from the stored configurations, so that a setting that has
  // been added since, at its default, changes no key.
  const Row* find(const std::string& key) const;
  const std::vector<Row>& rows() const { return rows_; }

  // Adds a row, or replaces the one with its key, and writes both files, each at once or not at all.
  void put(const Row& row);
  // Takes out a row that find() gave.
  void remove(const Row& row);

 private:
  void write() const;

  std::string output_;
  std::vector<Row> rows_;
  std::vector<std::string> keys_;
};

// The same of a row whose seed is 0, for means over seeds: rows with one `but_for_seed` differ in nothing else.
std::string but_for_seed(const Row& row);

// All rows as CSV: key, an `axis NAME` column for each axis, and every column of the rows but `config`.
std::string rows_csv(const std::vector<Row>& rows);

}  // namespace dlcm
