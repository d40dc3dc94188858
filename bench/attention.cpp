#include "bench/attention.h"

#include "bench/timing.h"
#include "dlcm/ops/range_attention.h"
#include "dlcm/ops/replicated_attention.h"
#include "dlcm/train/machine_peak.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <functional>
#include <random>

namespace dlcm {
namespace {

// Tokens of one document and the places they see.
struct Ranges {
  std::string name;
  at::Tensor begin_T, end_T;  // end_T - 1 is the place that token t's segment opened
  int64_t keys = 0;
  double pairs = 0.0;
};

Ranges ranges_of(const std::string& name, int64_t tokens, const std::function<bool(int64_t)>& opens) {
  auto end_T = at::empty({tokens}, at::kLong);
  auto* end = end_T.mutable_data_ptr<int64_t>();
  int64_t places = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    if (t == 0 || opens(t)) ++places;
    end[t] = places;
  }
  return {name, at::zeros({tokens}, at::kLong), end_T, places, end_T.sum().item<double>()};
}

std::vector<Ranges> all_ranges(int64_t tokens) {
  std::mt19937_64 random(1);
  return {ranges_of("every 6", tokens, [](int64_t t) { return t % 6 == 0; }),
          ranges_of("R = 4", tokens, [&](int64_t) { return random() % 4 == 0; }),
          ranges_of("causal", tokens, [](int64_t) { return true; })};
}

struct Problem {
  Ranges ranges;
  at::Tensor q_TNH, k_SGH, v_SGH, dout_TNH;
};

// [rows, heads, size] as the [1, heads, rows, size] that LibTorch's attention takes.
at::Tensor heads_first(const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); }

at::Tensor by_range_attention(const Problem& problem) {
  return range_attention({.q_TNH = problem.q_TNH,
                          .k_SGH = problem.k_SGH,
                          .v_SGH = problem.v_SGH,
                          .begin_T = problem.ranges.begin_T,
                          .end_T = problem.ranges.end_T,
                          .key_bias_S = {},
                          .last_key_bias_T = {}});
}

// The paper's method.
at::Tensor by_replication(const Problem& problem) {
  return replicated_attention(problem.q_TNH, problem.k_SGH, problem.v_SGH, problem.ranges.end_T - 1,
                              {0, problem.q_TNH.size(0)});
}

at::Tensor by_flash(const Problem& problem) {
  return at::scaled_dot_product_attention(heads_first(problem.q_TNH), heads_first(problem.k_SGH),
                                          heads_first(problem.v_SGH), {}, 0.0, /*is_causal=*/true, std::nullopt,
                                          /*enable_gqa=*/true)
      .squeeze(0)
      .transpose(0, 1);
}

at::Tensor by_mask(const Problem& problem) {
  const auto visible_TS = at::arange(problem.ranges.keys).lt(problem.ranges.end_T.unsqueeze(1));
  return at::scaled_dot_product_attention(heads_first(problem.q_TNH), heads_first(problem.k_SGH),
                                          heads_first(problem.v_SGH), visible_TS, 0.0, /*is_causal=*/false,
                                          std::nullopt, /*enable_gqa=*/true)
      .squeeze(0)
      .transpose(0, 1);
}

constexpr int kPeakAttempts = 3;

struct Method {
  std::string name;
  at::Tensor (*run)(const Problem&);
};

double forward_products(bool backward) { return backward ? 7.0 : 2.0; }

}  // namespace

std::vector<nlohmann::json> bench_attention(const AttentionBench& bench) {
  std::vector<nlohmann::json> lines;
  for (const int64_t tokens : bench.lengths) {
    const double peak = matrix_product_peak(at::kFloat, kPeakAttempts);
    for (const auto& ranges : all_ranges(tokens)) {
      at::manual_seed(1);
      Problem problem{ranges, at::randn({tokens, bench.heads, bench.head_size}),
                      at::randn({ranges.keys, bench.kv_heads, bench.head_size}),
                      at::randn({ranges.keys, bench.kv_heads, bench.head_size}),
                      at::randn({tokens, bench.heads, bench.head_size})};
      const bool causal = ranges.name == "causal";
      std::vector<Method> methods{{"range attention", by_range_attention}};
      if (!bench.alone) {
        methods.push_back(causal ? Method{"LibTorch flash", by_flash}
                                 : Method{"replication + LibTorch flash", by_replication});
        const bool has_mask = !causal && tokens * ranges.keys <= bench.largest_mask;
        if (has_mask) methods.push_back({"LibTorch masked", by_mask});
      }
      for (const bool backward : bench.alone ? std::vector{false} : std::vector{false, true}) {
        fmt::print(stderr, "{} tokens, {}, {}\n", tokens, ranges.name, backward ? "forward and backward" : "forward");
        for (auto* input : {&problem.q_TNH, &problem.k_SGH, &problem.v_SGH}) input->requires_grad_(backward);
        std::vector<std::function<void()>> runs;
        for (const auto& method : methods) {
          runs.push_back([&problem, &method, backward] {
            const auto out = method.run(problem);
            if (!backward) return;
            out.backward(problem.dout_TNH);
            for (auto* input : {&problem.q_TNH, &problem.k_SGH, &problem.v_SGH}) input->mutable_grad().reset();
          });
        }
        const auto timings = time_in_turns(runs, bench.repeats);
        const double flops =
            forward_products(backward) * 2.0 * ranges.pairs * static_cast<double>(bench.heads * bench.head_size);
        for (size_t i = 0; i < methods.size(); ++i) {
          const auto& timing = timings[i];
          lines.push_back({{"ranges", ranges.name},
                           {"tokens", tokens},
                           {"keys", ranges.keys},
                           {"method", methods[i].name},
                           {"pass", backward ? "forward and backward" : "forward"},
                           {"seconds", timing.median},
                           {"fastest_seconds", timing.fastest},
                           {"slowest_seconds", timing.slowest},
                           {"flops", flops},
                           {"peak_flops_per_second", peak},
                           {"share_of_peak", flops / timing.median / peak},
                           {"times_range_attention", timing.median / timings[0].median}});
        }
      }
    }
  }
  return lines;
}

std::string attention_table(const std::vector<nlohmann::json>& lines) {
  auto table = fmt::format("{:>6}  {:<8} {:<21} {:<29} {:>10} {:>17} {:>7} {:>7}\n", "tokens", "ranges", "pass",
                           "method", "median ms", "fastest…slowest", "of peak", "× range");
  for (const auto& line : lines) {
    table +=
        fmt::format("{:>6}  {:<8} {:<21} {:<29} {:>10.1f} {:>17} {:>6.1f}% {:>7.2f}\n", line["tokens"].get<int64_t>(),
                    line["ranges"].get<std::string>(), line["pass"].get<std::string>(),
                    line["method"].get<std::string>(), 1e3 * line["seconds"].get<double>(),
                    fmt::format("{:.1f}…{:.1f}", 1e3 * line["fastest_seconds"].get<double>(),
                                1e3 * line["slowest_seconds"].get<double>()),
                    100.0 * line["share_of_peak"].get<double>(), line["times_range_attention"].get<double>());
  }
  return table;
}

}  // namespace dlcm
