// Facts about the set of texts seen.
#include "dlcm/data/duplicates.h"
#include "tests/tokenizer/training_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <set>

namespace dlcm {
namespace {

using testing::TemporaryFolder;

// Hashes of which about a half have been drawn before; some share their higher or lower half.
Hash128 draw(std::mt19937_64& random, uint64_t range) {
  const uint64_t number = random() % range;
  if (number % 7 == 0) return {hash128("same").high, number};
  if (number % 7 == 1) return {number % 14 == 1 ? 0 : ~uint64_t{0}, number};
  return hash128(std::to_string(number));
}

TEST(SeenTexts, AreASetWhateverTheTableAndTheRuns) {
  for (const int64_t table : {1, 10, 1000}) {
    for (const size_t merged_runs : {2, 8}) {
      TemporaryFolder folder;
      SeenTexts seen(folder.path(), table, merged_runs);
      std::set<Hash128> expected;
      std::mt19937_64 random(7);
      for (int round = 0; round < (table == 1 ? 200 : 2500); ++round) {
        const Hash128 hash = draw(random, 3000);
        ASSERT_EQ(seen.add(hash), expected.insert(hash).second) << "round " << round;
        if (seen.is_full() || round % 397 == 0) {
          seen.commit();
          seen.forget_older_states();
        }
      }
    }
  }
}

TEST(SeenTexts, FindAllInALargeRun) {
  TemporaryFolder folder;
  SeenTexts seen(folder.path(), 1 << 16);
  std::mt19937_64 random(3);
  for (uint64_t number = 0; number < 1 << 16; ++number) seen.add({random(), number});
  seen.commit();
  std::mt19937_64 again(3), other(4);
  for (uint64_t number = 0; number < 1 << 16; ++number) {
    ASSERT_FALSE(seen.add({again(), number}));
  }
  for (uint64_t number = 0; number < 1000; ++number) EXPECT_TRUE(seen.add({other(), number}));
}

TEST(SeenTexts, GoOnFromTheLastCommitOnly) {
  TemporaryFolder folder;
  std::mt19937_64 random(5);
  std::set<Hash128> committed;
  nlohmann::json state;
  for (int session = 0; session < 60; ++session) {
    SeenTexts seen(folder.path(), 50, 3);
    if (session > 0) seen.go_on(state);
    std::set<Hash128> expected = committed;
    for (int round = 0; round < 200; ++round) {
      const Hash128 hash = draw(random, 5000);
      ASSERT_EQ(seen.add(hash), expected.insert(hash).second);
      if (random() % 60 != 0 && !seen.is_full()) continue;
      state = seen.commit();
      committed = expected;
      if (random() % 2 == 0) seen.forget_older_states();  // a kill may come before
    }
  }
}

}  // namespace
}  // namespace dlcm
