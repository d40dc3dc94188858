#include "bench/kernels.h"

#include "tests/support/gradients.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace dlcm {
namespace {

TEST(BenchKernels, CountsBytesAndOperationsBesideTheMachinesLimits) {
  const test::Threads one(1);
  const KernelBench bench{.threads = 1,
                          .outputs = 64,
                          .inputs = 128,
                          .rows = {1, 3},
                          .heads = 4,
                          .kv_heads = 2,
                          .head_size = 16,
                          .places = {10, 100},
                          .query_rows = {1, 20},
                          .memory_bytes = 1 << 16,
                          .repeats = 1};
  const auto lines = bench_kernels(bench);
  ASSERT_EQ(lines.size(), 1U + 4 * 2 + 2 * 2 * 2);
  const auto& machine = lines[0];
  EXPECT_EQ(machine.at("line"), "machine");
  EXPECT_GT(machine.at("empty_region_seconds").get<double>(), 0.0);
  constexpr double kBytes[] = {64 * 128 * 4, 64 * 128 * 2, 64 * (128 + 2 * 2), 64 * (64 + 4 * 2)};
  for (size_t i = 1; i < lines.size(); ++i) {
    const auto& line = lines[i];
    const double seconds = line.at("seconds"), bytes_per_second = line.at("bytes_per_second");
    const double flops_per_second = line.at("flops_per_second");
    EXPECT_LE(line.at("fastest_seconds").get<double>(), seconds);
    EXPECT_GE(line.at("slowest_seconds").get<double>(), seconds);
    EXPECT_NEAR(line.at("share_of_bandwidth").get<double>() * machine.at("read_bytes_per_second").get<double>(),
                bytes_per_second, 1e-6 * bytes_per_second);
    EXPECT_NEAR(line.at("share_of_products").get<double>() * machine.at("flops_per_second").get<double>(),
                flops_per_second, 1e-6 * flops_per_second);
    const auto rows = line.at("rows").get<double>();
    double bytes = 0.0, flops = 0.0;
    if (line.at("line") == "product") {
      bytes = kBytes[(i - 1) / 2];
      flops = 2.0 * rows * 64 * 128;
    } else {
      EXPECT_EQ(line.at("line"), "attention");
      const auto places = line.at("places").get<double>();
      bytes = 2 * places * 2 * 16 * (line.at("cache") == "float32" ? 4 : 2);
      // 20 rows of 10 places are 10 rows.
      EXPECT_LE(rows, places);
      flops = 4.0 * 64 * (rows * places - rows * (rows - 1) / 2);
    }
    EXPECT_NEAR(bytes_per_second * seconds, bytes, 1e-6 * bytes) << line;
    EXPECT_NEAR(flops_per_second * seconds, flops, 1e-6 * flops) << line;
  }
  EXPECT_NE(kernel_table(lines).find("int4 64 x 128, 3 rows"), std::string::npos);
}

}  // namespace
}  // namespace dlcm
