#include "bench/decoding.h"

#include "bench/timing.h"
#include "dlcm/infer/engine.h"
#include "dlcm/infer/exported_model.h"
#include "dlcm/kernels/read_speed.h"
#include "dlcm/model/flops.h"
#include "dlcm/train/machine_peak.h"

#include <nlohmann/json.hpp>

#include <unistd.h>

#include <chrono>
#include <random>

namespace dlcm {
namespace {

constexpr int64_t kFirstPrompt = 16;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

int64_t free_memory_bytes() { return static_cast<int64_t>(sysconf(_SC_AVPHYS_PAGES)) * sysconf(_SC_PAGESIZE); }

std::vector<int32_t> random_ids(int64_t count, int64_t vocabulary) {
  std::mt19937_64 random(1);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(vocabulary)));
  return ids;
}

// A boundary at every `segment`-th id.
std::vector<uint8_t> even_boundaries(int64_t count, int64_t segment) {
  std::vector<uint8_t> forced;
  for (int64_t i = 0; i < count; ++i) forced.push_back(i % segment == 0 ? 1 : 0);
  return forced;
}

// Streams of one model that decode side by side.
class Streams {
 public:
  Streams(Engine& engine, int64_t count, int64_t context, int64_t segment) : engine_(engine), segment_(segment) {
    for (int64_t i = 0; i < count; ++i) sequences_.push_back(engine.noise_sequence(context, context / segment));
    ids_ = random_ids(count, engine.vocabulary());
    forced_.resize(static_cast<size_t>(count));
  }

  void decode(int64_t tokens) {
    for (int64_t token = 0; token < tokens; ++token, ++steps_) {
      std::vector<EngineWork> works;
      for (size_t i = 0; i < sequences_.size(); ++i) {
        forced_[i] = (steps_ + static_cast<int64_t>(i)) % segment_ == 0 ? 1 : 0;
        works.push_back({.sequence = sequences_[i].get(),
                         .ids = std::span(&ids_[i], 1),
                         .forced = std::span(&forced_[i], 1),
                         .logits = LogitsWanted::last});
      }
      engine_.step(works);
    }
  }

 private:
  Engine& engine_;
  int64_t segment_;
  int64_t steps_ = 0;
  std::vector<std::unique_ptr<Sequence>> sequences_;
  std::vector<int32_t> ids_;
  std::vector<uint8_t> forced_;
};

nlohmann::json line_of(const char* kind, const Engine& engine) {
  return {{"line", kind},
          {"model", engine.model().path},
          {"kind", name_of(engine.model().config.model.kind)},
          {"weights", name_of(engine.model().format)},
          {"cache", engine.settings().cache == CacheFormat::bfloat16 ? "bfloat16" : "float32"}};
}

nlohmann::json prompt_line(const DecodingBench& bench, const std::string& path, double peak) {
  const EngineSettings settings{.threads = bench.threads, .cache = bench.cache};
  auto begin = std::chrono::steady_clock::now();
  Engine engine(load_engine_model(path), settings);
  const double load_seconds = seconds_since(begin);
  const auto ids = random_ids(std::max(bench.prompt, kFirstPrompt), engine.vocabulary());
  const auto forced = even_boundaries(static_cast<int64_t>(ids.size()), bench.segment);
  const auto read = [&](int64_t count) {
    const auto sequence = engine.new_sequence();
    engine.step({.sequence = sequence.get(),
                 .ids = std::span(ids).first(static_cast<size_t>(count)),
                 .forced = std::span(forced).first(static_cast<size_t>(count)),
                 .logits = LogitsWanted::last});
  };
  read(kFirstPrompt);
  const double first_token_seconds = seconds_since(begin);
  const auto timings = time_in_turns({[&] { read(kFirstPrompt); }, [&] { read(bench.prompt); }}, bench.repeats);
  const auto tokens = static_cast<double>(bench.prompt);
  auto flops = forward_flops(engine.model().config, expected_work(bench.prompt, static_cast<double>(bench.segment)));
  flops.head /= tokens;  // of the last row alone
  auto line = line_of("prompt", engine);
  line["ids"] = bench.prompt;
  line["tokens_per_second"] = tokens / timings[1].median;
  line["flops_per_second"] = flops.total() / timings[1].median;
  line["share_of_products"] = flops.total() / timings[1].median / peak;
  line["load_seconds"] = load_seconds;
  line["first_token_seconds"] = first_token_seconds;
  line["prompt_seconds"] = timings[0].median;
  return line;
}

// All models in turns, at one context and number of streams.
void add_decode_lines(const DecodingBench& bench, const std::vector<std::unique_ptr<Engine>>& engines, int64_t context,
                      int64_t count, double bandwidth, std::vector<nlohmann::json>& lines) {
  std::vector<std::unique_ptr<Streams>> streams;
  std::vector<std::function<void()>> candidates;
  std::vector<size_t> measured;
  const size_t first_line = lines.size();
  for (size_t i = 0; i < engines.size(); ++i) {
    auto& line = lines.emplace_back(line_of("decode", *engines[i]));
    line["context"] = context;
    line["streams"] = count;
    const auto& config = engines[i]->model().config;
    const double values = cache_values_per_token(config, static_cast<double>(bench.segment));
    const double bytes = values * static_cast<double>(context * count) * (bench.cache == CacheFormat::bfloat16 ? 2 : 4);
    if (bytes > 0.8 * static_cast<double>(free_memory_bytes())) {
      line["skipped"] = fmt::format("caches of {:.1f} GB do not fit into free memory", bytes / 1e9);
      continue;
    }
    streams.push_back(std::make_unique<Streams>(*engines[i], count, context, bench.segment));
    candidates.push_back([&bench, &of_model = *streams.back()] { of_model.decode(bench.tokens); });
    measured.push_back(i);
  }
  std::vector<EngineTraffic> before;
  for (const auto i : measured) before.push_back(engines[i]->traffic());
  const auto timings = time_in_turns(candidates, bench.repeats);
  for (size_t k = 0; k < measured.size(); ++k) {
    const auto& after = engines[measured[k]]->traffic();
    const auto tokens = static_cast<double>(bench.tokens * count);
    const auto rows = static_cast<double>(after.rows - before[k].rows);
    const double weights = static_cast<double>(after.weight_bytes - before[k].weight_bytes) / rows;
    const double caches = static_cast<double>(after.cache_bytes - before[k].cache_bytes) / rows;
    auto& line = lines[first_line + measured[k]];
    line["tokens_per_second"] = tokens / timings[k].median;
    line["fastest_tokens_per_second"] = tokens / timings[k].fastest;
    line["slowest_tokens_per_second"] = tokens / timings[k].slowest;
    line["weight_bytes_per_token"] = weights;
    line["cache_bytes_per_token"] = caches;
    line["bytes_per_second"] = (weights + caches) * tokens / timings[k].median;
    line["share_of_bandwidth"] = (weights + caches) * tokens / timings[k].median / bandwidth;
  }
}

}  // namespace

std::vector<nlohmann::json> bench_decoding(const DecodingBench& bench) {
  const int threads = bench.threads > 0 ? static_cast<int>(bench.threads) : ThreadPool::processors();
  std::vector<nlohmann::json> lines;
  const double peak = matrix_product_peak(at::kFloat, 3);
  double bandwidth = 0.0;
  {
    ThreadPool pool(threads);
    bandwidth = read_speed(pool);
  }
  lines.push_back(
      {{"line", "machine"}, {"threads", threads}, {"read_bytes_per_second", bandwidth}, {"flops_per_second", peak}});
  for (const auto& path : bench.models) lines.push_back(prompt_line(bench, path, peak));
  std::vector<std::unique_ptr<Engine>> engines;
  for (const auto& path : bench.models) {
    engines.push_back(std::make_unique<Engine>(load_engine_model(path),
                                               EngineSettings{.threads = bench.threads, .cache = bench.cache}));
  }
  for (const int64_t context : bench.contexts) {
    for (const int64_t count : bench.streams) add_decode_lines(bench, engines, context, count, bandwidth, lines);
  }
  return lines;
}

std::string decoding_table(const std::vector<nlohmann::json>& lines) {
  std::string table;
  const auto text = [](const nlohmann::json& line, const char* key) { return line.at(key).get<std::string>(); };
  for (const auto& line : lines) {
    const auto number = [&](const char* key) { return line.at(key).get<double>(); };
    const auto kind = text(line, "line");
    if (kind == "machine") {
      table += fmt::format("{} threads read {:.1f} GB/s and multiply {:.0f} GFLOP/s (fp32, 4096^3)\n",
                           line.at("threads").get<int64_t>(), number("read_bytes_per_second") / 1e9,
                           number("flops_per_second") / 1e9);
    } else if (kind == "prompt") {
      table += fmt::format(
          "{:<32} {:<8} prompt of {}: {:.1f} tokens/s, {:.0f} GFLOP/s ({:.0f} % of the products' speed); first token "
          "after {:.2f} s of a prompt that takes {:.2f} s\n",
          text(line, "model"), text(line, "weights"), line.at("ids").get<int64_t>(), number("tokens_per_second"),
          number("flops_per_second") / 1e9, 100.0 * number("share_of_products"), number("first_token_seconds"),
          number("prompt_seconds"));
    } else if (line.contains("skipped")) {
      table += fmt::format("{:<32} {:<8} {:>6} ids {:>3} streams: {}\n", text(line, "model"), text(line, "weights"),
                           line.at("context").get<int64_t>(), line.at("streams").get<int64_t>(), text(line, "skipped"));
    } else {
      table += fmt::format(
          "{:<32} {:<8} {:>6} ids {:>3} streams: {:>7.2f} tokens/s ({:.2f} to {:.2f}), a token reads {:.0f} MB of "
          "weights "
          "and {:.0f} MB of caches: {:.1f} GB/s, {:.0f} % of the bandwidth\n",
          text(line, "model"), text(line, "weights"), line.at("context").get<int64_t>(),
          line.at("streams").get<int64_t>(), number("tokens_per_second"), number("slowest_tokens_per_second"),
          number("fastest_tokens_per_second"), number("weight_bytes_per_token") / 1e6,
          number("cache_bytes_per_token") / 1e6, number("bytes_per_second") / 1e9,
          100.0 * number("share_of_bandwidth"));
    }
  }
  return table;
}

}  // namespace dlcm
