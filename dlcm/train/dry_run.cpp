// `train --dry-run`: what a run will take, from the configuration's counts and a few real steps.
#include "dlcm/model/flops.h"
#include "dlcm/nn/precision.h"
#include "dlcm/train/entropy_rule.h"
#include "dlcm/train/machine_peak.h"
#include "dlcm/train/rank_memory.h"
#include "dlcm/train/run.h"
#include "dlcm/train/tensor_memory.h"
#include "dlcm/train/trainer.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>

namespace dlcm {
namespace {

constexpr double kAssumedMfu = 0.4;  // where nothing can be measured
constexpr int kMeasuredSteps = 3;
constexpr double kMeasuredSeconds = 10.0;

struct StepCost {
  double seconds = 0.0;
  int64_t bytes = 0;  // activations and gradients at their peak
};

// Median seconds of a few optimiser steps after one to warm up, and the memory of one more.
StepCost measure_step(const Config& config, const Mixture& data, Communicator& communicator) {
  const auto model = make_model(config);
  set_tokenizer_tables(*model, *data.tokenizer());
  load_entropy_model(*model, config);
  Gradients gradients(*model, communicator, config.dist.sharding);
  AdamW optimizer(*model, config, gradients.owned());
  const MixedWindows windows(data, config.train.seed, config.train.context);
  WorkerThreads workers(number_of_workers(config)), one(1);
  const auto run = [&](int step, WorkerThreads& on) {
    optimise(*model, optimizer, gradients, read_step(windows, config, step, communicator), step, on);
  };
  std::vector<double> seconds;
  double total = 0.0;
  int step = 0;
  for (; step <= kMeasuredSteps && !communicator.any(total >= kMeasuredSeconds); ++step) {
    const auto start = std::chrono::steady_clock::now();
    run(step, workers);
    const double taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (step > 0 || taken > kMeasuredSeconds) seconds.push_back(taken);
    total += taken;
  }
  std::nth_element(seconds.begin(), seconds.begin() + static_cast<int64_t>(seconds.size() / 2), seconds.end());
  gradients.begin();
  const TensorMemory memory;
  run(step, one);
  // The workers share the activations of a micro-batch, and each has gradients of its own.
  const int64_t gradients_bytes = training_memory(count_parameters(config)).gradients_bytes;
  return {seconds[seconds.size() / 2], memory.peak_bytes() + (workers.size() - 1) * gradients_bytes};
}

// What the run takes from each source.
nlohmann::json sources_of(const Mixture& data, const Config& config) {
  const auto epochs = MixedWindows(data, config.train.seed, config.train.context)
                          .epochs(config.train.steps * config.train.tokens_per_step);
  auto sources = nlohmann::json::array();
  for (size_t i = 0; i < epochs.size(); ++i) {
    const auto& source = data.sources()[i];
    sources.push_back({{"name", source.name},
                       {"share", source.share},
                       {"documents", source.data.documents()},
                       {"tokens", source.data.tokens()},
                       {"epochs", epochs[i]}});
  }
  return sources;
}

}  // namespace

nlohmann::json dry_run(const TrainingRequest& request, Communicator& communicator) {
  const Mixture data(request.data, Split::train);
  const auto config = resolve_config(request.config, data);
  check_world_size(config, communicator);
  const auto parameters = count_parameters(config);
  const int64_t ranks = communicator.world_size();
  const auto memory = rank_memory(parameters, ranks, config.dist.sharding);
  const double flops_per_token = kTrainingFlopsPerForward * expected_flops_per_token(config).total();
  const double tokens_per_step = static_cast<double>(config.train.tokens_per_step);
  const bool bfloat16 = config.train.precision == Precision::bf16;
  const double peak = matrix_product_peak(bfloat16 ? at::kBFloat16 : at::kFloat, /*attempts=*/2);
  const int64_t rank_tokens = (config.train.tokens_per_step + ranks - 1) / ranks;
  const int64_t rounds = (rank_tokens + config.train.micro_batch_tokens - 1) / config.train.micro_batch_tokens;
  nlohmann::json estimate{
      {"ranks", ranks},
      {"sharding", name_of(config.dist.sharding)},
      {"bytes_sent_per_step", bytes_sent_per_step(parameters, ranks, config.dist.sharding, rounds)},
      {"parameters", parameters.total()},
      {"vocabulary", config.model.vocabulary},
      {"flops_per_token", flops_per_token},
      {"weights_bytes", memory.weights_bytes},
      {"gradients_bytes", memory.gradients_bytes},
      {"optimizer_bytes", memory.optimizer_bytes},
      {"precision", name_of(config.train.precision)},
      {"activation_checkpointing", config.train.activation_checkpointing},
      {"steps", config.train.steps},
      {"tokens", config.train.steps * config.train.tokens_per_step},
      {"data_tokens", data.tokens()},
      {"epochs", static_cast<double>(config.train.steps) * tokens_per_step / static_cast<double>(data.tokens())},
      {"sources", sources_of(data, config)}};
  for (const auto sharding : {Sharding::none, Sharding::optimizer, Sharding::gradients}) {
    estimate["rank_bytes"][std::string(name_of(sharding))] = rank_memory(parameters, ranks, sharding).total_bytes();
  }
  const double all_peaks = peak * static_cast<double>(ranks);
  StepCost cost{flops_per_token * tokens_per_step / (kAssumedMfu * all_peaks), 0};
  const bool fits = memory.total_bytes() < machine_memory_bytes() / 2;
  if (fits) {
    cost = measure_step(config, data, communicator);
    auto other = config;
    other.train.activation_checkpointing = !config.train.activation_checkpointing;
    const auto other_cost = measure_step(other, data, communicator);
    estimate["step_bytes"] = cost.bytes;
    estimate["other_activation_checkpointing"] = {{"step_bytes", other_cost.bytes},
                                                  {"tokens_per_second", tokens_per_step / other_cost.seconds}};
  }
  estimate["measured"] = fits;
  estimate["seconds_per_step"] = cost.seconds;
  estimate["tokens_per_second"] = tokens_per_step / cost.seconds;
  estimate["mfu"] = flops_per_token * tokens_per_step / cost.seconds / all_peaks;
  estimate["seconds"] = cost.seconds * static_cast<double>(config.train.steps);
  return estimate;
}

std::string dry_run_table(const nlohmann::json& estimate) {
  const auto number = [](const nlohmann::json& of, const char* key) { return of.at(key).get<double>(); };
  const double kept = number(estimate, "weights_bytes") + number(estimate, "optimizer_bytes");
  const auto ranks = estimate.at("ranks").get<int64_t>();
  const bool measured = estimate.at("measured").get<bool>();
  std::string sources;
  for (const auto& source : estimate.at("sources")) {
    sources +=
        fmt::format("  {:<16} {:.1f} % of the tokens, {:.2f} M tokens in {} documents, {:.2f} passes\n",
                    source.at("name").get<std::string>(), 100 * number(source, "share"), number(source, "tokens") / 1e6,
                    source.at("documents").get<int64_t>(), number(source, "epochs"));
  }
  auto table = fmt::format(
      "parameters         {:.2f} M\n"
      "training FLOPs     {:.1f} MF a token\n"
      "memory kept        {:.1f} MB (weights and moments)\n",
      number(estimate, "parameters") / 1e6, number(estimate, "flops_per_token") / 1e6, kept / 1e6);
  if (ranks > 1) {
    const auto& by_sharding = estimate.at("rank_bytes");
    table += fmt::format(
        "of each of {} ranks {:.1f} MB with gradients (dist.sharding = \"{}\"; none {:.1f}, optimizer {:.1f}, "
        "gradients "
        "{:.1f})\n"
        "sent by each rank  {:.1f} MB a step\n",
        ranks, kept / 1e6 + number(estimate, "gradients_bytes") / 1e6, estimate.at("sharding").get<std::string>(),
        number(by_sharding, "none") / 1e6, number(by_sharding, "optimizer") / 1e6,
        number(by_sharding, "gradients") / 1e6, number(estimate, "bytes_sent_per_step") / 1e6);
  }
  if (measured) {
    const auto& other = estimate.at("other_activation_checkpointing");
    table += fmt::format(
        "memory of a step   {:.1f} MB more (activations and gradients at their peak)\n"
        "                   {:.1f} MB and {:.0f} tokens/s {} train.activation_checkpointing\n",
        number(estimate, "step_bytes") / 1e6, number(other, "step_bytes") / 1e6, number(other, "tokens_per_second"),
        estimate.at("activation_checkpointing").get<bool>() ? "without" : "with");
  }
  return table + fmt::format(
                     "tokens             {:.2f} M in {:.0f} steps, {:.2f} passes over the data\n"
                     "{}"
                     "speed              {:.0f} tokens/s, MFU {:.0f} %, {} ({})\n"
                     "time               {:.1f} minutes\n",
                     number(estimate, "tokens") / 1e6, number(estimate, "steps"), number(estimate, "epochs"), sources,
                     number(estimate, "tokens_per_second"), 100 * number(estimate, "mfu"),
                     estimate.at("precision").get<std::string>(),
                     measured ? "measured" : "not measured: the model does not fit this machine; MFU 40 % assumed",
                     number(estimate, "seconds") / 60);
}

}  // namespace dlcm
