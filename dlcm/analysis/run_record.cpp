#include "dlcm/analysis/run_record.h"

#include "dlcm/io/checkpoint_store.h"
#include "dlcm/io/files.h"
#include "dlcm/io/hash.h"
#include "dlcm/io/metrics.h"
#include "dlcm/model/flops.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>

namespace dlcm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Non-finite numbers are null in the file.
double number(const json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number() ? found->get<double>() : kUnknown;
}

// The directory's absolute path with links resolved and without an empty last part.
fs::path resolved(const std::string& path) {
  std::error_code failure;
  const auto canonical = fs::canonical(path, failure);
  return failure ? fs::absolute(path).lexically_normal() : canonical;
}

// The last `parts` names of a path: "b/c" of "/a/b/c" for 2.
std::string last_names(const fs::path& path, size_t parts) {
  const std::vector<fs::path> names(path.begin(), path.end());
  fs::path result;
  for (size_t i = names.size() - std::min(parts, names.size()); i < names.size(); ++i) result /= names[i];
  return result.string();
}

void read_lines(RunRecord& run, const std::string& metrics) {
  for (const auto& line : read_metrics(metrics)) {
    const double step = number(line, "step");
    const double tokens = number(line, "tokens");
    if (line.contains("loss")) {
      run.training.push_back({.step = step,
                              .tokens = tokens,
                              .seconds = number(line, "seconds"),
                              .loss = number(line, "loss"),
                              .ratio = number(line, "ratio"),
                              .ratio_eval = number(line, "ratio_eval"),
                              .lr = number(line, "lr"),
                              .tokens_per_second = number(line, "tokens_per_second"),
                              .mfu = number(line, "mfu")});
    }
    if (line.contains("val_loss")) {
      run.validation.push_back({.step = step,
                                .tokens = tokens,
                                .loss = number(line, "val_loss"),
                                .bits_per_byte = number(line, "val_bits_per_byte"),
                                .ratio = number(line, "val_ratio"),
                                .ratio_half = number(line, "val_ratio_half"),
                                .ratio_sampled = number(line, "val_ratio_sampled"),
                                .ratio_p10 = number(line, "val_ratio_p10"),
                                .ratio_p50 = number(line, "val_ratio_p50"),
                                .ratio_p90 = number(line, "val_ratio_p90")});
    }
  }
}

}  // namespace

std::optional<double> RunRecord::training_flops_per_token() const {
  if (!config) return std::nullopt;
  return kTrainingFlopsPerForward * expected_flops_per_token(*config).total();
}

RunRecord read_run(const std::string& path) {
  std::error_code failure;
  if (!fs::is_directory(path, failure)) {
    throw Error("expected the directory of a training run, but {} is {}: name the directory given to train --output",
                path, fs::exists(path, failure) ? "no directory" : "not there");
  }
  RunRecord run;
  run.path = path;
  run.name = resolved(path).filename().string();
  const auto metrics = (fs::path(path) / "metrics.jsonl").string();
  if (!fs::exists(metrics, failure)) {
    if (failure) throw RuntimeFailure("cannot look into {}: {}", path, failure.message());
    throw Error("expected metrics.jsonl in {}, found none: name a directory that train --output has written", path);
  }
  read_lines(run, metrics);
  if (run.training.empty() && run.validation.empty()) {
    throw Error("{} holds no logged step yet: run the report when training has logged one", metrics);
  }
  try {
    run.checkpoint = find_checkpoint(path);
    const fs::path checkpoint(run.checkpoint);
    run.config = load_config((checkpoint / "config.toml").string());
    run.tokenizer_hash = hash_bytes(read_file((checkpoint / "tokenizer").string()));
    const auto trainer = json::parse(read_file((checkpoint / "trainer.json").string()), nullptr, false);
    const auto data = trainer.find("data_hash");
    if (data != trainer.end() && data->is_string()) run.data_hash = data->get<std::string>();
    // Counted once here, so that a configuration that cannot be counted is a problem of this run.
    run.training_flops_per_token();
  } catch (const Error& error) {
    run.checkpoint.clear();
    run.config.reset();
    run.tokenizer_hash.clear();
    run.data_hash.clear();
    run.problem = error.what();
    // A sweep that keeps no checkpoints leaves the configuration beside the metrics.
    const auto config = (fs::path(path) / "config.toml").string();
    try {
      if (fs::exists(config, failure)) run.config = load_config(config);
    } catch (const Error&) {
    }
  }
  return run;
}

std::vector<RunRecord> read_runs(const std::vector<std::string>& paths) {
  std::vector<RunRecord> runs;
  std::set<fs::path> seen;
  for (const auto& path : paths) {
    if (!seen.insert(resolved(path)).second) throw Error("the run {} is given twice: name each run once", path);
    runs.push_back(read_run(path));
  }
  // Runs of one name take more of their paths until they differ, which distinct paths do in the end.
  for (size_t parts = 2;; ++parts) {
    std::vector<size_t> alike;
    for (size_t i = 0; i < runs.size(); ++i) {
      const auto same_name = [&](const RunRecord& other) { return other.name == runs[i].name; };
      if (std::count_if(runs.begin(), runs.end(), same_name) > 1) alike.push_back(i);
    }
    if (alike.empty()) return runs;
    for (const size_t i : alike) runs[i].name = last_names(resolved(runs[i].path), parts);
  }
}

}  // namespace dlcm
