// What a run directory tells about itself: its metrics, and its configuration where a checkpoint holds one.
#pragma once

#include "dlcm/config/config.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace dlcm {

// A number that a line of metrics does not have.
inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// A logged training step. `ratio` is tokens per concept as sampled, `ratio_eval` the same tokens at the stored
// threshold; `seconds` is cumulative; `mfu` is a fraction.
struct TrainingPoint {
  double step = kUnknown;
  double tokens = kUnknown;
  double seconds = kUnknown;
  double loss = kUnknown;  // nats per token
  double ratio = kUnknown;
  double ratio_eval = kUnknown;
  double lr = kUnknown;
  double tokens_per_second = kUnknown;
  double mfu = kUnknown;
};

// A validation. The ratios are tokens per concept: at the stored threshold, at 0.5, as sampled, and the 10th, 50th and
// 90th percentile over documents at the stored threshold.
struct ValidationPoint {
  double step = kUnknown;
  double tokens = kUnknown;
  double loss = kUnknown;  // nats per token
  double bits_per_byte = kUnknown;
  double ratio = kUnknown;
  double ratio_half = kUnknown;
  double ratio_sampled = kUnknown;
  double ratio_p10 = kUnknown;
  double ratio_p50 = kUnknown;
  double ratio_p90 = kUnknown;
};

struct RunRecord {
  std::string path;
  std::string name;  // the directory's own name
  std::vector<TrainingPoint> training;
  std::vector<ValidationPoint> validation;
  // Of the newest complete checkpoint; empty where there is none.
  std::optional<Config> config;
  std::string checkpoint;
  std::string tokenizer_hash;
  std::string data_hash;  // of the data trained on
  // Why there is no checkpoint to use; empty where there is one.
  std::string problem;

  bool is_baseline() const { return config && config->model.kind == ModelKind::llama; }
  // Operations that training spends on one token; none without a configuration.
  std::optional<double> training_flops_per_token() const;
};

// Reads RUN/metrics.jsonl and the configuration of the newest complete checkpoint. A last line that is half-written is
// left out; a run without a usable checkpoint has `problem` set. Throws Error where `path` is no directory or its
// metrics are missing, hold no logged step, or are damaged; RuntimeFailure where they cannot be read.
RunRecord read_run(const std::string& path);

// The runs in this order. Runs whose directories have the same name are told apart by the directories above. Throws
// Error where one is given twice.
std::vector<RunRecord> read_runs(const std::vector<std::string>& paths);

}  // namespace dlcm
