// Text to token ids: megabytes per second on this machine.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace dlcm {

struct TokenizationBench {
  std::string tokenizer;           // as load_tokenizer takes it
  std::vector<std::string> texts;  // files
  int threads = 0;                 // 0: all cores
  int repeats = 5;
};

// One line a text: "tokenizer", "text", "threads", "documents", "bytes", "tokens", "seconds" (median),
// "fastest_seconds", "slowest_seconds", "megabytes_per_second", "tokens_per_second" (of the median), and
// "copy_megabytes_per_second", the same documents only copied, in the same rounds. A text is cut into documents after
// the first line end behind 4096 bytes.
std::vector<nlohmann::json> bench_tokenization(const TokenizationBench& bench);

std::string tokenization_table(const std::vector<nlohmann::json>& lines);

}  // namespace dlcm
