// Run directories made up for the report's tests: curves by formula, checkpoints of untrained models on bytes.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/infer/parameters_io.h"
#include "dlcm/io/checkpoint_store.h"
#include "dlcm/model/language_model.h"
#include "tests/io/temporary_directory.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

namespace dlcm::test {

// Writes a file and the directories above it.
inline void write_text(const std::string& path, const std::string& content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

inline testing::AssertionResult has(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return testing::AssertionSuccess() << '"' << part << "\" is in it";
  const std::string shown = text.size() < 2000 ? text : fmt::format("{} bytes of text", text.size());
  return testing::AssertionFailure() << '"' << part << "\" is not in " << shown;
}

struct SyntheticRun {
  std::string config = "tiny";  // of configs/
  int64_t steps = 500;
  int64_t eval_every_steps = 50;
  double final_bits_per_byte = 2.3;
  bool checkpoint = true;
};

inline Config synthetic_config(const SyntheticRun& run) {
  return load_config(fmt::format("{}/configs/{}.toml", DLCM_SOURCE_DIR, run.config),
                     {"model.vocabulary=258", fmt::format("train.steps={}", run.steps)});
}

// Writes metrics.jsonl as training does and, if asked for, one checkpoint.
inline void write_synthetic_run(const std::string& directory, const SyntheticRun& run) {
  const auto config = synthetic_config(run);
  const bool has_concepts = config.model.kind == ModelKind::dlcm;
  std::mt19937 generator(7);
  std::normal_distribution<double> noise;
  std::string metrics;
  const auto falling = [&](double end, double step) { return end + 2.6 * std::pow(1.0 + step / 12.0, -0.55); };
  for (int64_t step = 1; step <= run.steps; ++step) {
    const auto at = static_cast<double>(step);
    const double bits = falling(run.final_bits_per_byte, at) - falling(0.0, static_cast<double>(run.steps));
    const double share = at / static_cast<double>(run.steps);
    const double rate = 0.0015 * std::min(1.0, at / 50.0) * std::min(1.0, 0.02 + 0.98 * (1.0 - share) / 0.2);
    nlohmann::json line{{"step", step},
                        {"tokens", step * config.train.tokens_per_step},
                        {"seconds", 0.21 * at},
                        {"loss", bits * std::log(2.0) + 0.05 * noise(generator)},
                        {"grad_norm", 0.5},
                        {"lr", rate},
                        {"tokens_per_second", 19500.0 + 600.0 * noise(generator)},
                        {"mfu", 0.31}};
    if (has_concepts) {
      line["aux_loss"] = 0.001;
      line["ratio"] = 4.0 - 2.0 * std::exp(-at / 40.0) + 0.08 * noise(generator);
      line["ratio_eval"] = 4.1;
    }
    metrics += line.dump() + "\n";
    if (step % run.eval_every_steps != 0) continue;
    nlohmann::json validation{{"step", step},
                              {"tokens", step * config.train.tokens_per_step},
                              {"seconds", 0.21 * at},
                              {"val_loss", bits * std::log(2.0)},
                              {"val_bits_per_byte", bits}};
    if (has_concepts) {
      const double ratio = 4.1 + 0.5 * std::exp(-at / 100.0);
      validation["val_ratio"] = ratio;
      validation["val_ratio_half"] = ratio + 1.1 - 0.4 * share;
      validation["val_ratio_sampled"] = ratio - 0.1;
      validation["val_ratio_p10"] = ratio - 0.7;
      validation["val_ratio_p50"] = ratio;
      validation["val_ratio_p90"] = ratio + 0.9;
    }
    metrics += validation.dump() + "\n";
  }
  write_text(directory + "/metrics.jsonl", metrics);
  if (!run.checkpoint) return;
  Checkpoint checkpoint;
  checkpoint.step = run.steps;
  checkpoint.model = save_parameters(*make_model(config));
  checkpoint.config_toml = to_toml(config);
  checkpoint.tokenizer = "bytes";
  checkpoint.trainer = {{"tokens", run.steps * config.train.tokens_per_step}, {"data_hash", "synthetic"}};
  save_checkpoint(directory, checkpoint, /*keep=*/1);
}

}  // namespace dlcm::test
