#include "bench/kernels.h"

#include "bench/timing.h"
#include "dlcm/kernels/cached_attention.h"
#include "dlcm/kernels/read_speed.h"
#include "dlcm/train/machine_peak.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <random>

namespace dlcm {
namespace {

struct Machine {
  double read_bytes_per_second, flops_per_second;
};

std::vector<float> random_floats(int64_t count) {
  std::minstd_rand random(1);
  std::vector<float> values(static_cast<size_t>(count));
  for (auto& value : values) value = static_cast<float>(random() % 2001) * 1e-3f - 1.0f;
  return values;
}

const char* name_of_format(WeightFormat format) {
  constexpr const char* kNames[] = {"float32", "bfloat16", "int8", "int4"};
  return kNames[static_cast<size_t>(format)];
}

double empty_region_seconds(ThreadPool& threads) {
  constexpr int kRegions = 10'000;
  const auto regions = [&] {
    for (int i = 0; i < kRegions; ++i) threads.run(threads.threads(), [](int64_t) {});
  };
  return time_in_turns({regions}, 3)[0].median / kRegions;
}

// What one of `copies` equal pieces of work took, each on memory of its own.
nlohmann::json measured(const Machine& machine, const Timing& timing, int64_t copies, double bytes, double flops) {
  const double seconds = timing.median / static_cast<double>(copies);
  return {{"seconds", seconds},
          {"fastest_seconds", timing.fastest / static_cast<double>(copies)},
          {"slowest_seconds", timing.slowest / static_cast<double>(copies)},
          {"bytes_per_second", bytes / seconds},
          {"share_of_bandwidth", bytes / seconds / machine.read_bytes_per_second},
          {"flops_per_second", flops / seconds},
          {"share_of_products", flops / seconds / machine.flops_per_second}};
}

void add_products(const KernelBench& bench, const Machine& machine, ThreadPool& threads,
                  std::vector<nlohmann::json>& lines) {
  const auto weights = random_floats(bench.outputs * bench.inputs);
  for (const auto format : {WeightFormat::float32, WeightFormat::bfloat16, WeightFormat::int8, WeightFormat::int4}) {
    const size_t bytes = packed_bytes(format, bench.outputs, bench.inputs);
    const auto copies = std::max<int64_t>(1, bench.memory_bytes / static_cast<int64_t>(bytes));
    const size_t step = (bytes + kPackedAlignment - 1) / kPackedAlignment * kPackedAlignment;
    std::vector<std::byte> memory(step * static_cast<size_t>(copies) + kPackedAlignment);
    std::byte* first = memory.data();
    while (reinterpret_cast<uintptr_t>(first) % kPackedAlignment != 0) ++first;
    pack(threads, format, bench.outputs, bench.inputs, weights.data(), first);
    for (int64_t i = 1; i < copies; ++i) std::copy_n(first, bytes, first + static_cast<size_t>(i) * step);
    for (const int64_t rows : bench.rows) {
      fmt::print(stderr, "product of {} rows, {}\n", rows, name_of_format(format));
      const auto x = random_floats(rows * bench.inputs);
      std::vector<float> y(static_cast<size_t>(rows * bench.outputs));
      // Many rows compute from the caches: a part of the memory does.
      const int64_t used = std::max<int64_t>(1, std::min(copies, copies * 16 / rows));
      const auto products = [&] {
        for (int64_t i = 0; i < used; ++i) {
          const PackedMatrix matrix{format, bench.outputs, bench.inputs, first + static_cast<size_t>(i) * step};
          multiply(threads, matrix, x.data(), rows, y.data());
        }
      };
      const double flops = 2.0 * static_cast<double>(rows * bench.outputs * bench.inputs);
      auto line =
          measured(machine, time_in_turns({products}, bench.repeats)[0], used, static_cast<double>(bytes), flops);
      line.update({{"line", "product"},
                   {"format", name_of_format(format)},
                   {"outputs", bench.outputs},
                   {"inputs", bench.inputs},
                   {"rows", rows}});
      lines.push_back(std::move(line));
    }
  }
}

void add_attention(const KernelBench& bench, const Machine& machine, ThreadPool& threads,
                   std::vector<nlohmann::json>& lines) {
  const int64_t row = bench.kv_heads * bench.head_size, query_row = bench.heads * bench.head_size;
  const auto block = random_floats(kCacheBlock * row);
  for (const auto format : {CacheFormat::float32, CacheFormat::bfloat16}) {
    const CacheShape shape{format, bench.kv_heads, bench.head_size};
    for (const int64_t places : bench.places) {
      const int64_t bytes = 2 * places * row * shape.value_bytes();
      std::vector<KeyValueCache> caches;
      for (int64_t i = 0; i < std::max<int64_t>(1, bench.memory_bytes / bytes); ++i) {
        auto& cache = caches.emplace_back(shape);
        while (cache.size() < places) {
          cache.append(threads, block.data(), block.data(), std::min(kCacheBlock, places - cache.size()), row);
        }
      }
      for (const int64_t wanted : bench.query_rows) {
        const int64_t rows = std::min(wanted, places);
        fmt::print(stderr, "attention of {} rows to {} places\n", rows, places);
        const auto queries = random_floats(rows * query_row);
        std::vector<float> out(queries.size());
        std::vector<int64_t> end;
        double pairs = 0.0;
        for (int64_t i = 0; i < rows; ++i) {
          end.push_back(places - rows + i + 1);
          pairs += static_cast<double>(end.back());
        }
        const auto used = std::max<int64_t>(1, static_cast<int64_t>(caches.size()) / rows);
        const auto attention = [&] {
          for (int64_t i = 0; i < used; ++i) {
            const AttentionWork work{.cache = &caches[static_cast<size_t>(i)],
                                     .rows = rows,
                                     .queries = queries.data(),
                                     .query_row = query_row,
                                     .out = out.data(),
                                     .out_row = query_row,
                                     .end = end.data()};
            attend(threads, bench.heads, {&work, 1});
          }
        };
        const double flops = 4.0 * pairs * static_cast<double>(query_row);
        auto line =
            measured(machine, time_in_turns({attention}, bench.repeats)[0], used, static_cast<double>(bytes), flops);
        line.update({{"line", "attention"},
                     {"cache", format == CacheFormat::float32 ? "float32" : "bfloat16"},
                     {"heads", bench.heads},
                     {"kv_heads", bench.kv_heads},
                     {"places", places},
                     {"rows", rows}});
        lines.push_back(std::move(line));
      }
    }
  }
}

}  // namespace

std::vector<nlohmann::json> bench_kernels(const KernelBench& bench) {
  constexpr int kPeakAttempts = 3;
  const double peak = matrix_product_peak(at::kFloat, kPeakAttempts);
  ThreadPool threads(bench.threads > 0 ? bench.threads : ThreadPool::processors());
  const Machine machine{read_speed(threads), peak};
  std::vector<nlohmann::json> lines{{{"line", "machine"},
                                     {"threads", threads.threads()},
                                     {"read_bytes_per_second", machine.read_bytes_per_second},
                                     {"flops_per_second", machine.flops_per_second},
                                     {"empty_region_seconds", empty_region_seconds(threads)}}};
  add_products(bench, machine, threads, lines);
  add_attention(bench, machine, threads, lines);
  return lines;
}

std::string kernel_table(const std::vector<nlohmann::json>& lines) {
  std::string table;
  for (const auto& line : lines) {
    const auto number = [&](const char* key) { return line.at(key).get<double>(); };
    const auto integer = [&](const char* key) { return line.at(key).get<int64_t>(); };
    const auto kind = line.at("line").get<std::string>();
    if (kind == "machine") {
      table += fmt::format(
          "{} threads read {:.1f} GB/s, multiply {:.0f} GFLOP/s (fp32, 4096^3) and share no work in {:.2f} us\n",
          integer("threads"), number("read_bytes_per_second") / 1e9, number("flops_per_second") / 1e9,
          1e6 * number("empty_region_seconds"));
      table += fmt::format("{:<48} {:>10} {:>20} {:>8} {:>6} {:>9} {:>6}\n", "", "median ms", "fastest…slowest", "GB/s",
                           "of it", "GFLOP/s", "of it");
      continue;
    }
    const auto what = kind == "product" ? fmt::format("{} {} x {}, {} rows", line.at("format").get<std::string>(),
                                                      integer("outputs"), integer("inputs"), integer("rows"))
                                        : fmt::format("{} cache, {} of {} heads, {} places, {} rows",
                                                      line.at("cache").get<std::string>(), integer("kv_heads"),
                                                      integer("heads"), integer("places"), integer("rows"));
    table +=
        fmt::format("{:<48} {:>10.3f} {:>20} {:>8.1f} {:>5.0f}% {:>9.1f} {:>5.0f}%\n", what, 1e3 * number("seconds"),
                    fmt::format("{:.3f}…{:.3f}", 1e3 * number("fastest_seconds"), 1e3 * number("slowest_seconds")),
                    number("bytes_per_second") / 1e9, 100.0 * number("share_of_bandwidth"),
                    number("flops_per_second") / 1e9, 100.0 * number("share_of_products"));
  }
  return table;
}

}  // namespace dlcm
