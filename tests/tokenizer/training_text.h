// Text that the tests of this folder train and fuzz on, made up here.
#pragma once

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

namespace dlcm::testing {

// A folder that goes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "dlcm-test-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  const std::string& path() const { return path_; }

  std::string write(std::string_view name, std::string_view content) const {
    const std::string path = *this / name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }

 private:
  std::string path_;
};

// Sentences of made-up words of several scripts, with runs of spaces, tabs, digits and code.
inline std::string made_up_text(int lines, unsigned seed) {
  const std::vector<std::string> syllables{
      "ka",           "lo",           "mi", "ter", "an", "the", "ing", "\xC3\xA4s",
      "\xE4\xB8\xAD", "\xE6\x96\x87", "un", "re",  "st", "0",   "17",  "\xD0\xB6\xD0\xB8"};
  const std::vector<std::string> gaps{" ", " ", " ", " ", "  ", "    ", ", ", ". ", "\t", "(", ")", "\n", "\r\n"};
  std::mt19937 random(seed);
  std::vector<std::string> words;
  for (int index = 0; index < 300; ++index) {
    std::string word;
    for (unsigned part = 0; part < 1 + random() % 3; ++part) word += syllables[random() % syllables.size()];
    words.push_back(word);
  }
  std::string text;
  for (int line = 0; line < lines; ++line) {
    for (int word = 0; word < 12; ++word) {
      text += words[std::min(random() % words.size(), random() % words.size())] + gaps[random() % gaps.size()];
    }
    text += '\n';
  }
  return text;
}

// Bytes of all kinds that are hard to keep: random bytes, characters of all planes, broken UTF-8, special-token text.
inline std::string hostile_text(std::mt19937& random) {
  const std::vector<std::string> parts{"<|endoftext|>",
                                       "<|bos|>",
                                       "<s>",
                                       "</s>",
                                       "<unk>",
                                       "<0x41>",
                                       "\xE2\x96\x81",
                                       "\xE2\x96\x85",
                                       "\xE2\x96",
                                       "\xEF\xBF\xBD",
                                       std::string(1, '\0'),
                                       "\xED\xA0\x80",
                                       "\xC0\x80",
                                       "\xF4\x90\x80\x80",
                                       "\xEF\xBB\xBF",
                                       "\r\n",
                                       "\n\n",
                                       "   ",
                                       "\t",
                                       " ",
                                       "the",
                                       "\xE4\xB8\xAD\xE6\x96\x87",
                                       "\xF0\x9F\x98\x80",
                                       "\xE2\x81\x87",
                                       "e\xCC\x81"};
  std::string text;
  const unsigned length = random() % 40;
  for (unsigned index = 0; index < length; ++index) {
    switch (random() % 4) {
      case 0:
        text += static_cast<char>(random() % 256);
        break;
      case 1:
        text += parts[random() % parts.size()];
        break;
      case 2:
        text += made_up_text(1, random() % 50).substr(0, random() % 20);
        break;
      default: {  // any code point, surrogates too
        const char32_t code = random() % (random() % 2 == 0 ? 0x3000 : 0x110000);
        if (code < 0x80) {
          text += static_cast<char>(code);
        } else if (code < 0x800) {
          text += {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
        } else if (code < 0x10000) {
          text += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3F)),
                   static_cast<char>(0x80 | (code & 0x3F))};
        } else {
          text += {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 0x3F)),
                   static_cast<char>(0x80 | (code >> 6 & 0x3F)), static_cast<char>(0x80 | (code & 0x3F))};
        }
      }
    }
  }
  if (!text.empty() && random() % 2 == 0) text[random() % text.size()] = static_cast<char>(random() % 256);
  return text;
}

}  // namespace dlcm::testing
