// What a configuration is, for people and for machines: sizes, operations, cache and memory (`dlcm info`).
#pragma once

#include "dlcm/config/config.h"

#include <string>
#include <string_view>

namespace dlcm {

// A table of several lines; `name` is its title. Throws Error where model.vocabulary is 0.
std::string description_table(const Config& config, std::string_view name);

// The same numbers, unrounded, as one line of JSON: `name`, `kind`, `context`, `ratio`, `parameters` (by component,
// `total`, `non_embedding`, `touched_per_token`), `backbone_share`, `forward_flops_per_token` (by component, `total`),
// `training_flops_per_token`, `cache_values_per_token`, `cache_bytes_per_token` and `training_memory` in bytes.
std::string description_json(const Config& config, std::string_view name);

}  // namespace dlcm
