// `dlcm bench`: what this machine does with the parts of a model, beside its limits and the usual ways.
#include "bench/attention.h"
#include "bench/decoding.h"
#include "bench/evaluation.h"
#include "bench/kernels.h"
#include "bench/serving.h"
#include "bench/tokenization.h"
#include "bench/training.h"
#include "cli/model_options.h"
#include "cli/verbs.h"
#include "dlcm/data/mixture.h"
#include "dlcm/nn/precision.h"
#include "dlcm/train/run.h"
#include "dlcm/util/error.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dlcm::cli {
namespace {

// Options that every subject of `bench` has.
struct Common {
  int threads = 0;
  bool json = false;
};

void add_common(CLI::App& subject, const std::shared_ptr<Common>& common) {
  subject.add_option("--threads", common->threads, "threads; 0 takes all")->check(CLI::NonNegativeNumber);
  subject.add_flag("--json", common->json, "print one JSON object a line");
}

// A whole number from 1.
template <typename Number>
void add_number(CLI::App& subject, const char* name, Number& number, const char* meaning) {
  subject.add_option(name, number, meaning)->capture_default_str()->check(CLI::PositiveNumber);
}

// Several of them, N,...
void add_numbers(CLI::App& subject, const char* name, std::vector<int64_t>& numbers, const char* meaning) {
  subject.add_option(name, numbers, meaning)->delimiter(',')->capture_default_str()->check(CLI::PositiveNumber);
}

void check_heads(int64_t heads, int64_t kv_heads) {
  if (heads % kv_heads != 0) {
    throw Error("expected --kv-heads that divides --heads, found {} and {}", kv_heads, heads);
  }
}

void print(const Common& common, const std::vector<nlohmann::json>& lines, const std::string& table) {
  if (!common.json) {
    fmt::print("{}", table);
    return;
  }
  for (const auto& line : lines) fmt::print("{}\n", line.dump());
}

void add_attention(CLI::App& bench) {
  auto* subject = bench.add_subcommand("attention", "Cross-attention from tokens to concepts (the paper's Table 6)");
  const auto common = std::make_shared<Common>();
  const auto arguments = std::make_shared<AttentionBench>();
  add_common(*subject, common);
  subject->add_option("--tokens", arguments->lengths, "lengths of the sequence")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  add_number(*subject, "--heads", arguments->heads, "query heads");
  add_number(*subject, "--kv-heads", arguments->kv_heads, "key heads; they divide the query heads");
  add_number(*subject, "--head-size", arguments->head_size, "numbers in a head");
  add_number(*subject, "--repeats", arguments->repeats, "rounds; their median counts");
  subject->add_flag("--alone", arguments->alone, "range attention forward, without its peers");
  subject->callback([common, arguments] {
    check_heads(arguments->heads, arguments->kv_heads);
    if (common->threads > 0) at::set_num_threads(common->threads);
    const auto lines = bench_attention(*arguments);
    print(*common, lines, attention_table(lines));
  });
}

struct TrainingArguments {
  std::vector<std::string> configs;
  std::vector<std::string> settings;
  std::string data;
  int repeats = 5;
};

void add_training(CLI::App& bench) {
  auto* subject = bench.add_subcommand("train", "A training step, whole and by component");
  const auto common = std::make_shared<Common>();
  const auto arguments = std::make_shared<TrainingArguments>();
  add_common(*subject, common);
  subject->add_option("--config", arguments->configs, "configurations, TOML files")->required();
  subject->add_option("--set", arguments->settings, "KEY=VALUE in place of what the files say")
      ->allow_extra_args(false);
  subject->add_option("--data", arguments->data, "a data set to read the tokens from; without it they are random");
  add_number(*subject, "--repeats", arguments->repeats, "rounds; their median counts");
  subject->callback([common, arguments] {
    if (common->threads > 0) at::set_num_threads(common->threads);
    for (const auto& path : arguments->configs) {
      auto config = load_config(path, arguments->settings);
      if (config.train.precision == Precision::automatic) {
        config.train.precision = bfloat16_is_fast() ? Precision::bf16 : Precision::fp32;
      }
      std::optional<Mixture> data;
      std::optional<MixedWindows> windows;
      if (!arguments->data.empty()) {
        data.emplace(arguments->data, Split::train);
        config.train.threads = at::get_num_threads();
        config = resolve_config(config, *data);
        windows.emplace(*data, config.train.seed, config.train.context);
      }
      const auto lines = bench_training(config, path, arguments->repeats, windows ? &*windows : nullptr);
      print(*common, lines, training_table(lines));
    }
  });
}

void add_tokenization(CLI::App& bench) {
  auto* subject = bench.add_subcommand("tokenizer", "Text to token ids, in documents of some KiB");
  const auto common = std::make_shared<Common>();
  const auto arguments = std::make_shared<TokenizationBench>();
  add_common(*subject, common);
  subject->add_option("--tokenizer", arguments->tokenizer, "a SentencePiece model, a tokenizer.json, or bytes")
      ->required();
  subject->add_option("--text", arguments->texts, "text files")->required();
  add_number(*subject, "--repeats", arguments->repeats, "rounds; their median counts");
  subject->callback([common, arguments] {
    arguments->threads = common->threads;
    const auto lines = bench_tokenization(*arguments);
    print(*common, lines, tokenization_table(lines));
  });
}

void add_evaluation(CLI::App& bench) {
  auto* subject = bench.add_subcommand("eval", "Items of benchmarks scored a second: alone, side by side, sharing");
  const auto common = std::make_shared<Common>();
  const auto arguments = std::make_shared<EvaluationBench>();
  add_common(*subject, common);
  subject->add_option("--model", arguments->model, "run directory or checkpoint")->required();
  subject->add_option("--tasks", arguments->tasks, "NAME[=FILE],..., as for dlcm eval")->delimiter(',')->required();
  subject->add_option("--items", arguments->items, "folder that holds NAME.jsonl for a task without a file")
      ->capture_default_str();
  subject->add_option("--shots", arguments->shots, "examples before each question")->capture_default_str();
  add_number(*subject, "--limit", arguments->limit, "items of each task");
  add_number(*subject, "--repeats", arguments->repeats, "rounds; their median counts");
  subject->callback([common, arguments] {
    arguments->threads = common->threads;
    const auto lines = bench_evaluation(*arguments);
    print(*common, lines, evaluation_bench_table(lines));
  });
}

void add_decoding(CLI::App& bench) {
  auto* subject = bench.add_subcommand("decode", "Tokens a second of exported models, with caches filled to a context");
  const auto common = std::make_shared<Common>();
  const auto arguments = std::make_shared<DecodingBench>();
  add_common(*subject, common);
  subject->add_option("--model", arguments->models, "exported files; they take turns")->required();
  add_numbers(*subject, "--context", arguments->contexts, "N,...: ids before the measured ones");
  add_numbers(*subject, "--streams", arguments->streams, "N,...: sequences side by side");
  add_number(*subject, "--segment", arguments->segment, "tokens of each concept, forced");
  add_number(*subject, "--tokens", arguments->tokens, "decoded in each stream and round");
  add_number(*subject, "--prompt", arguments->prompt, "ids of the prompt whose reading is measured");
  add_cache_option(*subject, arguments->cache);
  add_number(*subject, "--repeats", arguments->repeats, "rounds; their median counts");
  subject->callback([common, arguments] {
    arguments->threads = common->threads;
    if (common->threads > 0) at::set_num_threads(common->threads);
    const auto lines = bench_decoding(*arguments);
    print(*common, lines, decoding_table(lines));
  });
}

void add_serving(CLI::App& bench) {
  auto* subject = bench.add_subcommand("serve", "Completions streamed to clients by a server in this process");
  const auto common = std::make_shared<Common>();
  const auto arguments = std::make_shared<ServingBench>();
  add_common(*subject, common);
  subject->add_option("--model", arguments->models, "run directories, checkpoints or exported files")->required();
  add_numbers(*subject, "--streams", arguments->streams, "N,...: clients at a time");
  add_number(*subject, "--prompt", arguments->prompt, "ids of each prompt");
  add_number(*subject, "--tokens", arguments->tokens, "that each client is sent");
  add_cache_option(*subject, arguments->cache);
  add_number(*subject, "--repeats", arguments->repeats, "rounds; their median counts");
  subject->callback([common, arguments] {
    arguments->threads = common->threads;
    const auto lines = bench_serving(*arguments);
    print(*common, lines, serving_table(lines));
  });
}

void add_kernels(CLI::App& bench) {
  auto* subject = bench.add_subcommand("kernels", "Products, cached attention and threads of the inference engine");
  const auto common = std::make_shared<Common>();
  const auto arguments = std::make_shared<KernelBench>();
  add_common(*subject, common);
  add_number(*subject, "--outputs", arguments->outputs, "rows of the weights");
  add_number(*subject, "--inputs", arguments->inputs, "columns of the weights");
  add_numbers(*subject, "--rows", arguments->rows, "N,...: rows of activations");
  add_number(*subject, "--heads", arguments->heads, "query heads");
  add_number(*subject, "--kv-heads", arguments->kv_heads, "key heads; they divide the query heads");
  add_number(*subject, "--head-size", arguments->head_size, "numbers in a head");
  add_numbers(*subject, "--places", arguments->places, "N,...: places in the caches");
  add_numbers(*subject, "--query-rows", arguments->query_rows, "N,...: rows that attend");
  add_number(*subject, "--memory", arguments->memory_bytes, "bytes of weights or caches to read in turn");
  add_number(*subject, "--repeats", arguments->repeats, "rounds; their median counts");
  subject->callback([common, arguments] {
    check_heads(arguments->heads, arguments->kv_heads);
    arguments->threads = common->threads;
    if (common->threads > 0) at::set_num_threads(common->threads);
    const auto lines = bench_kernels(*arguments);
    print(*common, lines, kernel_table(lines));
  });
}

}  // namespace

void add_bench(CLI::App& app, int& /*status*/) {
  auto* verb = app.add_subcommand("bench", "Measure on this machine, with its limits in the same run");
  verb->require_subcommand(1);
  add_attention(*verb);
  add_training(*verb);
  add_tokenization(*verb);
  add_evaluation(*verb);
  add_kernels(*verb);
  add_decoding(*verb);
  add_serving(*verb);
}

}  // namespace dlcm::cli
