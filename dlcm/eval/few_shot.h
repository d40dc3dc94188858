// Few-shot prompts: the examples that stand before a question, chosen as lm-evaluation-harness chooses them.
#pragma once

#include "dlcm/eval/benchmark.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dlcm {

// Where examples are taken from.
struct ExamplePool {
  std::vector<Question> questions;
  std::string file;
};

// For each question the text before its context: its description and `shots` examples of its subject, drawn with the
// harness's seed in the order of the questions. Examples come from `pool`, or, without one, from the other questions
// themselves (the harness's few-shot split equal to its test split). Throws Error where there are too few.
std::vector<std::string> prompt_beginnings(const Benchmark& benchmark, const std::vector<Question>& questions,
                                           int64_t shots, const std::optional<ExamplePool>& pool);

}  // namespace dlcm
