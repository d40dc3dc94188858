#include "dlcm/serve/metrics.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace dlcm {
namespace {

void write_head(std::string& text, std::string_view name, std::string_view type, std::string_view help) {
  text += fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
}

template <typename Number>
void write_one(std::string& text, std::string_view name, std::string_view type, std::string_view help, Number value) {
  write_head(text, name, type, help);
  text += fmt::format("{} {}\n", name, value);
}

int64_t resident_bytes() {
  int64_t size = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

}  // namespace

void SecondsHistogram::add(double seconds) {
  const auto bucket = std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin();
  ++counts_[static_cast<size_t>(bucket)];
  nanoseconds_ += static_cast<int64_t>(seconds * 1e9);
}

void SecondsHistogram::write(std::string& text, std::string_view name, std::string_view help) const {
  write_head(text, name, "histogram", help);
  int64_t count = 0;
  for (size_t bucket = 0; bucket < kBounds.size(); ++bucket) {
    count += counts_[bucket];
    text += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, kBounds[bucket], count);
  }
  count += counts_.back();
  text += fmt::format("{0}_bucket{{le=\"+Inf\"}} {1}\n{0}_sum {2}\n{0}_count {1}\n", name, count,
                      static_cast<double>(nanoseconds_) * 1e-9);
}

void ServerMetrics::answered(std::string_view endpoint, int status) {
  const std::lock_guard lock(mutex_);
  ++answers_[{std::string(endpoint), status}];
}

std::string ServerMetrics::text(const ServerGauges& gauges) const {
  std::string text;
  write_head(text, "dlcm_answers_total", "counter", "Answers by endpoint and status.");
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, count] : answers_) {
      text += fmt::format("dlcm_answers_total{{endpoint=\"{}\",status=\"{}\"}} {}\n", key.first, key.second, count);
    }
  }
  const auto counter = [&](std::string_view name, std::string_view help, int64_t value) {
    write_one(text, name, "counter", help, value);
  };
  counter("dlcm_prompt_tokens_total", "Tokens of prompts that were read.", prompt_tokens);
  counter("dlcm_reused_tokens_total", "Tokens of prompts that had been read for an earlier one.", reused_tokens);
  counter("dlcm_generated_tokens_total", "Tokens that were sampled.", generated_tokens);
  counter("dlcm_read_tokens_total", "Tokens that went through the model.", read_tokens);
  counter("dlcm_concepts_total", "Concepts that these tokens opened.", concepts);
  counter("dlcm_steps_total", "Passes of the engine.", steps);
  counter("dlcm_cancelled_total", "Prompts whose client left before the end.", cancelled);
  const auto gauge = [&](std::string_view name, std::string_view help, auto value) {
    write_one(text, name, "gauge", help, value);
  };
  gauge("dlcm_tokens_per_concept", "Tokens read by concepts opened, since the start.",
        concepts == 0 ? 0.0 : static_cast<double>(read_tokens) / static_cast<double>(concepts));
  gauge("dlcm_connections", "Connections that are open.", gauges.connections);
  gauge("dlcm_waiting_prompts", "Prompts that wait for their turn.", gauges.waiting);
  gauge("dlcm_running_prompts", "Prompts at work.", gauges.at_work);
  gauge("process_resident_memory_bytes", "Memory of the process.", resident_bytes());
  request_seconds.write(text, "dlcm_request_seconds", "Completions, from the whole request to the answer's end.");
  first_token_seconds.write(text, "dlcm_first_token_seconds", "From a prompt's submission to its first token.");
  token_seconds.write(text, "dlcm_token_seconds", "Between two tokens of a sample.");
  return text;
}

}  // namespace dlcm
