// `train --dry-run`: what a run will take, from the configuration's counts and a few real steps.
#include "dlcm/model/flops.h"
#include "dlcm/nn/precision.h"
#include "dlcm/train/machine_peak.h"
#include "dlcm/train/run.h"
#include "dlcm/train/trainer.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>

namespace dlcm {
namespace {

constexpr double kAssumedMfu = 0.4;  // where nothing can be measured
constexpr int kMeasuredSteps = 3;
constexpr double kMeasuredSeconds = 10.0;

// Median seconds of a few optimiser steps after one to warm up.
double measure_step(const Config& config, const Dataset& data) {
  const auto model = make_model(config);
  set_tokenizer_tables(*model, *data.tokenizer());
  AdamW optimizer(*model, config);
  const ShuffledWindows windows(data, config.train.seed, config.train.context);
  WorkerThreads workers(number_of_workers(config));
  SingleProcess communicator;
  std::vector<double> seconds;
  double total = 0.0;
  for (int step = 0; step <= kMeasuredSteps && total < kMeasuredSeconds; ++step) {
    const auto start = std::chrono::steady_clock::now();
    optimise(*model, optimizer, read_step(windows, config, step, communicator), step, workers, communicator);
    const double taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (step > 0 || taken > kMeasuredSeconds) seconds.push_back(taken);
    total += taken;
  }
  std::nth_element(seconds.begin(), seconds.begin() + static_cast<int64_t>(seconds.size() / 2), seconds.end());
  return seconds[seconds.size() / 2];
}

}  // namespace

nlohmann::json dry_run(const TrainingRequest& request) {
  const Dataset data(request.data, Split::train);
  const auto config = resolve_config(request.config, *data.tokenizer());
  const auto parameters = count_parameters(config);
  const auto memory = training_memory(parameters);
  const double flops_per_token = kTrainingFlopsPerForward * expected_flops_per_token(config).total();
  const double tokens_per_step = static_cast<double>(config.train.tokens_per_step);
  const bool bfloat16 = config.train.precision == Precision::bf16;
  const double peak = matrix_product_peak(bfloat16 ? at::kBFloat16 : at::kFloat, /*attempts=*/2);
  const bool fits = memory.total_bytes() < machine_memory_bytes() / 2;
  const double seconds_per_step =
      fits ? measure_step(config, data) : flops_per_token * tokens_per_step / (kAssumedMfu * peak);
  return {{"parameters", parameters.total()},
          {"vocabulary", config.model.vocabulary},
          {"flops_per_token", flops_per_token},
          {"weights_bytes", memory.weights_bytes},
          {"gradients_bytes", memory.gradients_bytes},
          {"optimizer_bytes", memory.optimizer_bytes},
          {"precision", name_of(config.train.precision)},
          {"steps", config.train.steps},
          {"tokens", config.train.steps * config.train.tokens_per_step},
          {"data_tokens", data.tokens()},
          {"epochs", static_cast<double>(config.train.steps) * tokens_per_step / static_cast<double>(data.tokens())},
          {"measured", fits},
          {"seconds_per_step", seconds_per_step},
          {"tokens_per_second", tokens_per_step / seconds_per_step},
          {"mfu", flops_per_token * tokens_per_step / seconds_per_step / peak},
          {"seconds", seconds_per_step * static_cast<double>(config.train.steps)}};
}

std::string dry_run_table(const nlohmann::json& estimate) {
  const auto number = [&](const char* key) { return estimate.at(key).get<double>(); };
  const double memory = number("weights_bytes") + number("gradients_bytes") + number("optimizer_bytes");
  return fmt::format(
      "parameters         {:.2f} M\n"
      "training FLOPs     {:.1f} MF a token\n"
      "memory kept        {:.1f} MB (weights, gradients, moments; activations come on top)\n"
      "tokens             {:.2f} M in {:.0f} steps, {:.2f} passes over the data\n"
      "speed              {:.0f} tokens/s, MFU {:.0f} %, {} ({})\n"
      "time               {:.1f} minutes\n",
      number("parameters") / 1e6, number("flops_per_token") / 1e6, memory / 1e6, number("tokens") / 1e6,
      number("steps"), number("epochs"), number("tokens_per_second"), 100 * number("mfu"),
      estimate.at("precision").get<std::string>(),
      estimate.at("measured").get<bool>() ? "measured"
                                          : "not measured: the model does not fit this machine; MFU 40 % assumed",
      number("seconds") / 60);
}

}  // namespace dlcm
