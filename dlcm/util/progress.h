// The progress of long work: one line redrawn in place on a terminal, a plain line now and then elsewhere.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

struct ProgressState {
  std::string label;
  int64_t step = 0;
  // 0 where the end is not known: then there is no bar, no percentage and no time left.
  int64_t total = 0;
  // The step at which this process began; only steps behind it count for the speed.
  int64_t first_step = 0;
  double elapsed_seconds = 0.0;
  // "loss 3.21", "12.3k tok/s": the most important first.
  std::vector<std::string> fields;
};

// One line without its end: label, bar, step/total, percentage, fields, elapsed time, time left. In a window of
// `columns` it leaves the last column free; what does not fit goes in this order: bar, elapsed time, the last field and
// so on to the first, time left, percentage, step. `columns` 0 is a plain line of any length, without a bar.
std::string render_progress(const ProgressState& state, int64_t columns);

class ProgressLine {
 public:
  struct Options {
    std::string label;
    int64_t total = 0;
    int64_t first_step = 0;
    std::FILE* stream = stderr;
    // Seconds from any origin; empty is the machine's steady clock.
    std::function<double()> clock;
  };

  explicit ProgressLine(Options options);
  // Ends the line.
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // Shows the state if it is time: every 0.1 s on a terminal; elsewhere after 10 s, then at growing intervals.
  void update(int64_t step, std::vector<std::string> fields = {});
  // Writes a line of text above the progress line.
  void message(std::string_view text);
  // Shows the last state and ends the line. Later calls do nothing.
  void finish();

 private:
  void draw();

  Options options_;
  ProgressState state_;
  bool terminal_;
  bool drawn_ = false;
  bool finished_ = false;
  double begin_seconds_;
  double next_seconds_;
  double interval_seconds_;
};

}  // namespace dlcm
