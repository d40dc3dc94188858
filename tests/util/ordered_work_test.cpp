// Facts about work that many threads do and one takes in order.
#include "dlcm/util/ordered_work.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <stdexcept>

namespace dlcm {
namespace {

struct Item {
  int64_t number = 0;
  int64_t result = 0;
};

// Numbers 0 .. count - 1, each worked on for a random while.
std::vector<int64_t> squares(int num_threads, int64_t count, int64_t most_weight, int64_t weight) {
  std::vector<int64_t> results;
  int64_t next = 0;
  work_in_order<Item>(
      num_threads, most_weight, [&](Item& item) { return (item.number = next++) < count; },
      [&](const Item&) { return weight; },
      [](Item& item) {
        std::this_thread::sleep_for(std::chrono::microseconds(item.number * 7919 % 300));
        item.result = item.number * item.number;
      },
      [&](const Item& item) { results.push_back(item.result); });
  return results;
}

TEST(OrderedWork, HandsOnResultsInTheOrderOfTheItems) {
  for (const int threads : {1, 2, 5}) {
    for (const int64_t weight : {1, 10, 1000}) {
      const auto results = squares(threads, 200, 100, weight);
      ASSERT_EQ(results.size(), 200u);
      for (int64_t number = 0; number < 200; ++number) EXPECT_EQ(results[static_cast<size_t>(number)], number * number);
    }
  }
  EXPECT_TRUE(squares(2, 0, 100, 1).empty());
}

TEST(OrderedWork, KeepsNoMoreOnTheirWayThanTheWeightAllows) {
  std::atomic<int64_t> on_their_way = 0, most = 0;
  int64_t next = 0;
  work_in_order<Item>(
      3, 40,
      [&](Item& item) {
        if (next == 300) return false;
        item.number = next++;
        most = std::max<int64_t>(most, ++on_their_way);
        return true;
      },
      [](const Item&) { return 10; }, [](Item&) {}, [&](const Item&) { --on_their_way; });
  // The fourth item reaches the weight; one more is counted here before its weight is.
  EXPECT_LE(most, 5);
  EXPECT_GE(most, 2);
}

TEST(OrderedWork, EndsWithTheExceptionOfAnyPart) {
  for (int failing = 0; failing < 3; ++failing) {
    const auto fail = [&](int part, int64_t number) {
      if (part == failing && number == 50) throw std::runtime_error(std::to_string(part));
    };
    int64_t next = 0;
    std::vector<int64_t> taken;
    try {
      work_in_order<Item>(
          2, 20,
          [&](Item& item) {
            item.number = next++;
            fail(0, item.number);
            return true;
          },
          [](const Item&) { return 1; }, [&](const Item& item) { fail(1, item.number); },
          [&](const Item& item) {
            fail(2, item.number);
            taken.push_back(item.number);
          });
      ADD_FAILURE() << "an endless stream ended";
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(error.what(), std::to_string(failing));
    }
    EXPECT_LE(taken.size(), 50u);
    for (size_t index = 0; index < taken.size(); ++index) EXPECT_EQ(taken[index], static_cast<int64_t>(index));
  }
}

}  // namespace
}  // namespace dlcm
