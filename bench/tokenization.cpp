#include "bench/tokenization.h"

#include "bench/timing.h"
#include "dlcm/io/files.h"
#include "dlcm/tokenizer/parallel_encode.h"
#include "dlcm/tokenizer/tokenizer.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <thread>

namespace dlcm {
namespace {

constexpr size_t kDocumentBytes = 4096;

std::vector<std::string> documents_of(const std::string& text) {
  std::vector<std::string> documents;
  for (size_t begin = 0; begin < text.size();) {
    const size_t line_end = text.find('\n', begin + kDocumentBytes);
    const size_t end = line_end == std::string::npos ? text.size() : line_end + 1;
    documents.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return documents;
}

}  // namespace

std::vector<nlohmann::json> bench_tokenization(const TokenizationBench& bench) {
  const auto tokenizer = load_tokenizer(bench.tokenizer);
  std::vector<nlohmann::json> lines;
  for (const auto& path : bench.texts) {
    const auto text = read_file(path);
    const auto documents = documents_of(text);
    std::vector<std::vector<int32_t>> ids;
    std::vector<std::string> copies(documents.size());
    const auto timings = time_in_turns({[&] { ids = encode_all(*tokenizer, documents, bench.threads); },
                                        [&] {
                                          for_each_text(documents.size(), bench.threads,
                                                        [&](size_t i) { copies[i] = std::string(documents[i]); });
                                        }},
                                       bench.repeats);
    size_t tokens = 0;
    for (const auto& document : ids) tokens += document.size();
    const auto megabytes = static_cast<double>(text.size()) / 1e6;
    const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    lines.push_back({{"tokenizer", bench.tokenizer},
                     {"text", path},
                     {"threads", bench.threads > 0 ? bench.threads : cores},
                     {"documents", documents.size()},
                     {"bytes", text.size()},
                     {"tokens", tokens},
                     {"seconds", timings[0].median},
                     {"fastest_seconds", timings[0].fastest},
                     {"slowest_seconds", timings[0].slowest},
                     {"megabytes_per_second", megabytes / timings[0].median},
                     {"tokens_per_second", static_cast<double>(tokens) / timings[0].median},
                     {"copy_megabytes_per_second", megabytes / timings[1].median}});
  }
  return lines;
}

std::string tokenization_table(const std::vector<nlohmann::json>& lines) {
  std::string table = fmt::format("{:>7} {:>9} {:>11} {:>12} {:>10}  {}\n", "threads", "MB/s", "tokens/s",
                                  "bytes/token", "copy MB/s", "text");
  for (const auto& line : lines) {
    table += fmt::format("{:>7} {:>9.1f} {:>11.0f} {:>12.2f} {:>10.0f}  {}\n", line["threads"].get<int>(),
                         line["megabytes_per_second"].get<double>(), line["tokens_per_second"].get<double>(),
                         line["bytes"].get<double>() / std::max(1.0, line["tokens"].get<double>()),
                         line["copy_megabytes_per_second"].get<double>(), line["text"].get<std::string>());
  }
  return table;
}

}  // namespace dlcm
