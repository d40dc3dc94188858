// One self-contained file of a model: its weights packed as the engine multiplies with them, its configuration with the
// threshold, its tokenizer and its calibration. A safetensors file that is mapped into memory and used as it lies
// there; docs/formats.md describes it.
#pragma once

#include "dlcm/infer/engine_model.h"
#include "dlcm/infer/pack_weights.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace dlcm {

// Writes `path`, replacing a file there when all of it is on the disk. One weight at a time is in memory. `progress` is
// told the bytes done and the bytes in all. Throws RuntimeFailure where the disk does not take it.
void write_exported_model(const std::string& path, const ModelFacts& facts, WeightFormat format,
                          const ParameterSource& source,
                          const std::function<void(int64_t done, int64_t total)>& progress = {});

// Whether `path` is a file, which then should be an exported model, and no directory.
bool is_exported_model(const std::string& path);

// Maps such a file; nothing of the weights is read or converted. Throws Error where the file is damaged, of another
// version or layout, or where its weights are not those of its configuration.
EngineModel map_exported_model(const std::string& path);

// Weights as training would begin with, for measurements: each parameter drawn by the seed and its name.
ParameterSource random_parameters(const Config& config, int64_t seed);

std::string_view name_of(WeightFormat format);

}  // namespace dlcm
