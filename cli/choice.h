// Options that take one of several words.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace dlcm::cli {

// Refuses every other word, naming those there are.
inline CLI::Validator one_of(const std::vector<std::string>& words) {
  return {[words](std::string& word) {
            if (std::find(words.begin(), words.end(), word) != words.end()) return std::string();
            return fmt::format("expected one of {}, found {}", fmt::join(words, ", "), word);
          },
          fmt::format("{{{}}}", fmt::join(words, ","))};
}

// The same for an option that holds an enumeration's value.
template <typename Value>
CLI::Validator one_of(const std::vector<std::pair<std::string, Value>>& choices) {
  std::vector<std::string> words;
  for (const auto& [word, value] : choices) words.push_back(word);
  return {[choices, known = one_of(words)](std::string& word) {
            const auto refusal = known(word);
            if (!refusal.empty()) return refusal;
            const auto is_it = [&](const auto& choice) { return choice.first == word; };
            word = std::to_string(static_cast<int>(std::find_if(choices.begin(), choices.end(), is_it)->second));
            return std::string();
          },
          fmt::format("{{{}}}", fmt::join(words, ","))};
}

}  // namespace dlcm::cli
