// What the server counts, in Prometheus' text format. All functions may be called from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace dlcm {

// Seconds in buckets whose bounds grow by factors of about 2.
class SecondsHistogram {
 public:
  void add(double seconds);
  // Appends the lines of a metric called `name`.
  void write(std::string& text, std::string_view name, std::string_view help) const;

 private:
  static constexpr std::array<double, 16> kBounds{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,  0.25,
                                                  0.5,   1.0,    2.5,   5.0,  10.0,  30.0, 60.0, 300.0};

  std::array<std::atomic<int64_t>, kBounds.size() + 1> counts_{};
  std::atomic<int64_t> nanoseconds_{0};
};

// What is counted elsewhere and is true now.
struct ServerGauges {
  int64_t connections = 0;
  int64_t waiting = 0, at_work = 0;  // prompts
};

struct ServerMetrics {
  // Counts an answer.
  void answered(std::string_view endpoint, int status);
  std::string text(const ServerGauges& gauges) const;

  SecondsHistogram request_seconds;      // of completions, from the body's last byte to the answer's end
  SecondsHistogram first_token_seconds;  // from a prompt's submission to its first token
  SecondsHistogram token_seconds;        // between two tokens of a sample
  std::atomic<int64_t> prompt_tokens{0}, reused_tokens{0}, generated_tokens{0};
  std::atomic<int64_t> read_tokens{0}, concepts{0};  // that went through the model, and what they opened
  std::atomic<int64_t> steps{0}, cancelled{0};

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, int64_t> answers_;
};

}  // namespace dlcm
