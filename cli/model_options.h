// The options that every verb with a trained model takes.
#pragma once

#include "cli/choice.h"
#include "dlcm/infer/engine_model.h"
#include "dlcm/kernels/key_value_cache.h"

#include <CLI/CLI.hpp>

#include <string>

namespace dlcm::cli {

struct ModelOptions {
  std::string model;
  ThresholdRequest request;
};

// Adds --model, --threshold and --ratio.
inline void add_model_options(CLI::App& verb, ModelOptions& options) {
  verb.add_option("--model", options.model,
                  "run directory (its newest complete checkpoint), checkpoint or exported file")
      ->required();
  auto* threshold = verb.add_option("--threshold", options.request.threshold,
                                    "score p at which a token opens a concept (the model's own)");
  verb.add_option("--ratio", options.request.ratio,
                  "tokens per concept to aim at: the threshold follows from the scores of the last validation")
      ->excludes(threshold);
}

// Adds --cache: the numbers of keys and values.
inline void add_cache_option(CLI::App& verb, CacheFormat& cache) {
  verb.add_option("--cache", cache, "keys and values: float32, or bfloat16, which is half as large")
      ->transform(one_of<CacheFormat>({{"float32", CacheFormat::float32}, {"bfloat16", CacheFormat::bfloat16}}));
}

}  // namespace dlcm::cli
