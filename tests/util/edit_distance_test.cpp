// Distances between names, and the nearest one.
#include "dlcm/util/edit_distance.h"

#include <gtest/gtest.h>

namespace dlcm {
namespace {

TEST(EditDistance, CountsInsertionsDeletionsAndSubstitutions) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("steps", ""), 5u);
  EXPECT_EQ(edit_distance("", "steps"), 5u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("ratio", "ratoi"), 2u);
}

TEST(EditDistance, NearestNameIsTheClosestOne) {
  EXPECT_EQ(nearest_name("stpes", {"seed", "steps", "threads"}), "steps");
  EXPECT_EQ(nearest_name("x", {}), "");
}

}  // namespace
}  // namespace dlcm
