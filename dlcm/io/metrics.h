// RUN/metrics.jsonl: one JSON object a line, each handed to the system when it is logged.
#pragma once

#include "dlcm/io/files.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dlcm {

class MetricsLog {
 public:
  // Opens RUN/metrics.jsonl for appending, creating it where there is none; RUN exists. Throws RuntimeFailure.
  explicit MetricsLog(const std::string& run);

  // Appends one object; non-finite numbers become null. Throws RuntimeFailure where the disk does not take it.
  void append(const nlohmann::json& line);

  // For a resume: removes the lines whose "step" is beyond `step`, and a half-written last line, at once or not at all.
  // Throws Error where another line is no JSON object.
  void cut_back(int64_t step);

 private:
  std::string path_;
  std::unique_ptr<AppendFile> file_;
};

// The objects of a metrics file. A last line without its end that is no whole object is left out; any other line that
// is no JSON object throws Error naming it, and so does a missing file.
std::vector<nlohmann::json> read_metrics(const std::string& path);

}  // namespace dlcm
