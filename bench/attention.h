// Cross-attention from tokens to concepts, as the paper's Table 6 times it: range attention against the paper's own
// method (replicated keys and values in a causal kernel) and against attention under a T x S mask.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace dlcm {

struct AttentionBench {
  std::vector<int64_t> lengths{2048, 4096, 8192, 16384};
  int64_t heads = 32;
  int64_t kv_heads = 32;
  int64_t head_size = 64;
  int repeats = 5;
  // A T x S mask of more elements than this is left out.
  int64_t largest_mask = int64_t{1} << 26;
  bool alone = false;  // range attention forward, without its peers
};

// One object a line of the table: "ranges" ("every 6", "R = 4" or "causal"), "tokens", "keys", "method", "pass"
// ("forward" or "forward and backward"), "seconds" (median), "fastest_seconds", "slowest_seconds", "flops",
// "peak_flops_per_second" (a 4096^3 product before each length, best of three), "share_of_peak",
// "times_range_attention". FLOPs: 2 matrix products forward and 5 backward over the visible pairs. Methods take turns
// within a round, so that a slow moment of the machine meets all of them. Progress goes to stderr.
std::vector<nlohmann::json> bench_attention(const AttentionBench& bench);

// The lines as a table for people.
std::string attention_table(const std::vector<nlohmann::json>& lines);

}  // namespace dlcm
