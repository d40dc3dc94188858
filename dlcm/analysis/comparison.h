// What a report says of runs in sentences, and what it counts to say it.
#pragma once

#include "dlcm/analysis/run_record.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

// A difference of bits per byte within this share of the reference's is called level.
inline constexpr double kLevelShare = 0.002;

// "DLCM", "baseline", or "unknown" without a configuration.
std::string_view kind_in_words(const RunRecord& run);

// The run that the others are held against: the first baseline, or the first run where there is none.
size_t reference_run(const std::vector<RunRecord>& runs);

// Whether all runs are known to share one tokenizer, so that their losses per token can be compared.
bool all_tokenizers_equal(const std::vector<RunRecord>& runs);

// The last finite value of a field; kUnknown where there is none.
template <typename Line>
double last_value(const std::vector<Line>& lines, double Line::*field) {
  const auto found =
      std::find_if(lines.rbegin(), lines.rend(), [&](const Line& line) { return std::isfinite(line.*field); });
  return found == lines.rend() ? kUnknown : (*found).*field;
}

// Bits per byte of two runs after the same number of tokens.
struct Pair {
  double tokens;
  double run;
  double reference;

  double difference() const { return run / reference - 1.0; }
};

// Every validation that both runs made after the same number of tokens, in this order.
std::vector<Pair> common_validations(const RunRecord& run, const RunRecord& reference);

// One run alone: "After 1.23 M tokens, a (DLCM) reads 2.310 bits per byte and makes one concept of 4.02 tokens ...".
std::string standing(const RunRecord& run);

// "After 1.23 M tokens, a (DLCM) reads 2.310 bits per byte and b (baseline) 2.290: the baseline is ahead by 0.9 %.":
// bits per byte at the last validation that both runs made after the same number of tokens. Losses per token are never
// compared, since tokenizers may differ; where they do, the sentence says so.
std::string verdict(const RunRecord& run, const RunRecord& reference);

// "small spends 12 % more FLOPs per token than small-llama."; empty where one of them is unknown.
std::string flops_verdict(const RunRecord& run, const RunRecord& reference);

}  // namespace dlcm
