// The items that the tests ask about, one file a benchmark, written for this project in the published fields.
#pragma once

#include <string>

namespace dlcm::test {

inline std::string items(const std::string& task) {
  return std::string(DLCM_SOURCE_DIR) + "/tests/eval/items/" + task + ".jsonl";
}

}  // namespace dlcm::test
