// Python's random.Random, as far as lm-evaluation-harness draws few-shot examples with it: the same seed gives the same
// examples.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace dlcm {

class PythonRandom {
 public:
  // random.Random(seed) for a whole number below 2^32.
  explicit PythonRandom(uint32_t seed);

  // random.sample(range(population), count): different places in the order in which they are drawn; count <=
  // population.
  std::vector<size_t> sample(size_t population, size_t count);

 private:
  // A whole number below `limit`, which is at least 1 and below 2^32.
  size_t below(size_t limit);

  std::mt19937 generator_;
};

}  // namespace dlcm
