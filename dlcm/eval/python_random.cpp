#include "dlcm/eval/python_random.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>
#include <sstream>

namespace dlcm {
namespace {

constexpr size_t kWords = std::mt19937::state_size;

// Matsumoto and Nishimura's init_by_array for a key of one word, which is how Python seeds with a small number.
std::array<uint32_t, kWords> words_of(uint32_t seed) {
  const auto mixed = [](uint32_t word) { return word ^ (word >> 30); };
  std::array<uint32_t, kWords> words;
  words[0] = 19650218u;
  for (size_t i = 1; i < kWords; ++i) words[i] = 1812433253u * mixed(words[i - 1]) + static_cast<uint32_t>(i);
  size_t i = 1;
  const auto advance = [&] {
    if (++i < kWords) return;
    words[0] = words[kWords - 1];
    i = 1;
  };
  for (size_t round = 0; round < kWords; ++round, advance()) {
    words[i] = (words[i] ^ (mixed(words[i - 1]) * 1664525u)) + seed;
  }
  for (size_t round = 0; round + 1 < kWords; ++round, advance()) {
    words[i] = (words[i] ^ (mixed(words[i - 1]) * 1566083941u)) - static_cast<uint32_t>(i);
  }
  words[0] = 0x80000000u;
  return words;
}

}  // namespace

PythonRandom::PythonRandom(uint32_t seed) {
  // The standard's generator takes a whole state only as text: its words, then (in this library) the place in them.
  std::stringstream state;
  for (const uint32_t word : words_of(seed)) state << word << ' ';
  state << kWords;
  state >> generator_;
}

size_t PythonRandom::below(size_t limit) {
  const auto bits = std::bit_width(limit);
  size_t drawn;
  do {
    drawn = generator_() >> (32 - bits);
  } while (drawn >= limit);
  return drawn;
}

std::vector<size_t> PythonRandom::sample(size_t population, size_t count) {
  // Python shuffles a copy of a small population and remembers what was drawn of a large one.
  size_t set_size = 21;
  if (count > 5) {
    set_size += static_cast<size_t>(std::pow(4.0, std::ceil(std::log(static_cast<double>(count * 3)) / std::log(4.0))));
  }
  std::vector<size_t> drawn;
  if (population <= set_size) {
    std::vector<size_t> left(population);
    std::iota(left.begin(), left.end(), size_t{0});
    while (drawn.size() < count) {
      const size_t place = below(left.size());
      drawn.push_back(left[place]);
      left[place] = left.back();
      left.pop_back();
    }
    return drawn;
  }
  while (drawn.size() < count) {
    const size_t place = below(population);
    if (std::find(drawn.begin(), drawn.end(), place) == drawn.end()) drawn.push_back(place);
  }
  return drawn;
}

}  // namespace dlcm
