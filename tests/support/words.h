// Documents of words drawn from a small dictionary, in English, Chinese, code and sums.
#pragma once

#include <random>
#include <string>
#include <vector>

namespace dlcm::test {

// `documents` of 5 to 64 words, each ended by <|endoftext|> on a line of its own.
inline std::string text_of_words(unsigned seed, int documents) {
  const std::vector<std::string> words{"the ",  "cat ", "sat ",        "on ",        "a ",
                                       "mat. ", "然后", "return x;\n", "1 + 1 = 2, "};
  std::mt19937 random(seed);
  std::string text;
  for (int document = 0; document < documents; ++document) {
    const auto length = 5 + random() % 60;
    for (unsigned i = 0; i < length; ++i) text += words[random() % words.size()];
    text += "\n<|endoftext|>\n";
  }
  return text;
}

}  // namespace dlcm::test
