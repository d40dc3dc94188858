// The benchmarks that `dlcm eval --tasks` knows: what lm-evaluation-harness 0.4 asks a model for each published record.
#pragma once

#include "dlcm/eval/record.h"

#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

// One question of a benchmark.
struct Question {
  std::string subject;  // empty where the benchmark has none
  // Stands before the examples and the question.
  std::string description = {};
  // Asked are the pairs (context, continuation), one per choice: one of the two lists has one entry, which all share.
  std::vector<std::string> contexts;
  std::vector<std::string> continuations;
  std::vector<std::string> choices;  // whose lengths acc_norm divides by
  size_t answer = 0;                 // place of the right choice
  std::string example;               // the question with its answer, as it stands before another one
  std::string record;                // what it was made of: equal questions have equal records
  std::string where;                 // "line 3 of items.jsonl"
  int64_t line = 0;

  const std::string& context(size_t choice) const { return contexts[contexts.size() == 1 ? 0 : choice]; }
  const std::string& continuation(size_t choice) const { return continuations[continuations.size() == 1 ? 0 : choice]; }
};

// How the harness takes examples from the ones that there are.
enum class ExampleChoice {
  first,          // the first ones of the subject
  drawn,          // at random
  drawn_with_one  // at random, one more than is needed in case one is the question itself
};

enum class Measure {
  choice,    // acc and acc_norm: is the right choice the likeliest?
  last_word  // acc and perplexity: is the last word what the model would write?
};

struct Benchmark {
  std::string_view name;
  Question (*question)(const Record&);
  ExampleChoice examples = ExampleChoice::drawn;
  Measure measure = Measure::choice;
  // The category of a subject, for benchmarks whose subjects have one.
  std::string_view (*category)(std::string_view subject) = nullptr;
};

// Names of all benchmarks, in the order of the paper's Table 2.
std::vector<std::string> benchmark_names();
// Throws Error naming the nearest one where there is no such benchmark.
const Benchmark& benchmark(std::string_view name);

// The questions of a file of its published records. Throws Error naming the line and the field that is not as
// published.
std::vector<Question> read_questions(const Benchmark& benchmark, const std::string& path);

}  // namespace dlcm
