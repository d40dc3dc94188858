// The nearest known name to a mistyped one, for error messages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

// Levenshtein distance in bytes.
size_t edit_distance(std::string_view a, std::string_view b);

// The candidate with the smallest edit distance to `name`; empty where there is no candidate.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace dlcm
