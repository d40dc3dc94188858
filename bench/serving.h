// `dlcm bench serve`: a server in this process, and clients that stream completions from it over loopback sockets.
#pragma once

#include "dlcm/kernels/key_value_cache.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace dlcm {

struct ServingBench {
  std::vector<std::string> models;      // as --model takes them
  std::vector<int64_t> streams{1, 16};  // clients at a time
  int64_t prompt = 64;                  // ids of each prompt, drawn at random, all different
  int64_t tokens = 64;                  // that each client is sent
  int repeats = 3;                      // rounds of all clients; their median counts
  CacheFormat cache = CacheFormat::float32;
  int64_t threads = 0;  // 0 takes all
};

// One line per model and number of streams: model, weights, streams, prompt, tokens, tokens_per_second (of all clients,
// from the first one's question to the last one's end), fastest, slowest, gain (over the first number of streams),
// first_token_seconds and token_seconds (between two events of a client), each with _p50, _p95 and _p99 over all
// rounds, tokens_per_concept.
std::vector<nlohmann::json> bench_serving(const ServingBench& bench);

std::string serving_table(const std::vector<nlohmann::json>& lines);

}  // namespace dlcm
