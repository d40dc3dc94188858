// Replays the corpus of every harness: each file, and each of its beginnings up to a length.
#include "tests/fuzz/harness.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

namespace dlcm::fuzz {
namespace {

std::map<std::string, void (*)(std::string_view)>& harnesses() {
  static std::map<std::string, void (*)(std::string_view)> map;
  return map;
}

void run(void (*harness)(std::string_view), std::string_view bytes) {
  try {
    harness(bytes);
  } catch (const Error&) {
    // Refusing is what a reader may do.
  }
}

TEST(Fuzz, EveryHarnessTakesItsCorpus) {
  ASSERT_FALSE(harnesses().empty());
  for (const auto& [name, harness] : harnesses()) {
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(DLCM_SOURCE_DIR "/tests/fuzz/corpus/" + name)) {
      std::ostringstream content;
      content << std::ifstream(entry.path(), std::ios::binary).rdbuf();
      const std::string bytes = content.str();
      SCOPED_TRACE(entry.path().string());
      run(harness, bytes);
      constexpr size_t kBeginnings = 64;
      for (size_t length = 0; length < std::min(bytes.size(), kBeginnings); ++length) {
        run(harness, std::string_view(bytes).substr(0, length));
      }
      ++files;
    }
    EXPECT_GT(files, 0) << "no corpus for " << name;
  }
}

}  // namespace

Registration::Registration(const char* name, void (*harness)(std::string_view)) { harnesses()[name] = harness; }

}  // namespace dlcm::fuzz
