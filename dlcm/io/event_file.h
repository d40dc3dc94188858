// Scalars for TensorBoard: a file of TFRecords, each an Event message of TensorFlow's event.proto.
//
// The few fields used are encoded by hand. A run that goes on writes a file of its own, which begins with a session
// start: TensorBoard then drops what an earlier file of the directory holds from that step on.
#pragma once

#include "dlcm/io/files.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dlcm {

class EventFile {
 public:
  // Creates a new file in `directory`, which exists; its name sorts behind those already there. `done_steps` is the
  // step of the checkpoint that the run goes on from, 0 for a fresh run: later steps of earlier files are void. Throws
  // RuntimeFailure.
  EventFile(const std::string& directory, int64_t done_steps);

  // Values by tag ("train/loss") at a step; `wall_seconds` since 1970. Throws RuntimeFailure where the disk does not
  // take them.
  void append(int64_t step, double wall_seconds, const std::vector<std::pair<std::string, double>>& values);

  const std::string& path() const { return path_; }

 private:
  void append_record(std::string_view event);

  std::string path_;
  std::unique_ptr<AppendFile> file_;
};

}  // namespace dlcm
