// A training step on this machine: tokens per second and MFU, whole and by component.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/data/mixture.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace dlcm {

// One optimiser step of one micro-batch (config.train.micro_batch_tokens tokens of `windows`, or random ones, a
// document a window; boundaries drawn at 1/R) and, on the same tensors, its parts alone, forward and backward. First
// the line of the step: "name", "component" ("step"), "seconds" (median), "fastest_seconds", "slowest_seconds", "flops"
// (training, of what was really visible), "share_of_step", "mfu", "tokens", "tokens_per_second", "parameters",
// "peak_flops_per_second" (a 4096^3 product in config.train.precision, in the same rounds, best of all). Then a line a
// component: encoder, parser, packing (of tokens to places and of documents to workers), pooling, backbone,
// cross-attention, decoder, head (with the loss), optimiser; data (reading a micro-batch, where there are windows); and
// "first pass": the boundaries of the Global Parser, which a step of several micro-batches needs once more and this
// step does not contain.
std::vector<nlohmann::json> bench_training(const Config& config, const std::string& name, int repeats,
                                           const MixedWindows* windows = nullptr);

std::string training_table(const std::vector<nlohmann::json>& lines);

}  // namespace dlcm
