// `dlcm bench decode`: tokens a second of exported models on the engine, beside what this machine reads from memory and
// multiplies.
#pragma once

#include "dlcm/kernels/key_value_cache.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace dlcm {

struct DecodingBench {
  std::vector<std::string> models;           // exported files, or whatever --model takes
  std::vector<int64_t> contexts{512, 8192};  // ids before the measured ones, in caches filled without computing
  std::vector<int64_t> streams{1, 16};       // sequences side by side
  int64_t segment = 4;                       // tokens of a concept; streams close theirs at different steps
  int64_t tokens = 16;                       // decoded in each stream and round
  int64_t prompt = 512;                      // ids of the prompt whose reading is measured
  int repeats = 3;
  CacheFormat cache = CacheFormat::bfloat16;
  int64_t threads = 0;  // 0 takes all
};

// Three kinds of lines. "machine": threads, read_bytes_per_second, multiplications as flops_per_second (fp32, 4096^3).
// "decode": model, weights, cache, context, streams, tokens_per_second (of all streams), fastest, slowest, bytes read
// from weights and caches for a token, bytes_per_second and share_of_bandwidth. Where the caches do not fit into
// memory, `skipped` says so. "prompt": model, ids, tokens_per_second, flops_per_second, share_of_products; load_seconds
// and first_token_seconds, from a file in the page cache to the logits of a prompt of 16 ids, and prompt_seconds, the
// same prompt read again.
std::vector<nlohmann::json> bench_decoding(const DecodingBench& bench);

std::string decoding_table(const std::vector<nlohmann::json>& lines);

}  // namespace dlcm
