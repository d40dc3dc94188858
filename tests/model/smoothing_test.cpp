// Smoothing against what it is defined to be, written out.
#include "dlcm/model/smoothing.h"

#include "tests/model/stages.h"
#include "tests/support/gradients.h"

#include <gtest/gtest.h>

namespace dlcm {
namespace {

using test::distance;
using test::Tensors;

TEST(Smoothing, IdentityGivesBackThePlaces) {
  const auto z = at::randn({4, 3}, at::kDouble);
  EXPECT_TRUE(at::equal(smooth(SmoothingKind::identity, z, at::rand({4}, at::kDouble)), z));
}

TEST(Smoothing, MovingAverageIsGatedByTheScores) {
  const auto literal = [](const Tensors& x) {
    std::vector<at::Tensor> rows{x[0][0]};
    for (int64_t k = 1; k < x[0].size(0); ++k) rows.push_back(x[1][k] * x[0][k] + (1 - x[1][k]) * rows.back());
    return at::stack(rows);
  };
  auto p = at::rand({9}, at::kDouble);
  p[0] = 1.0;
  const auto z = at::randn({9, 4}, at::kDouble);
  EXPECT_LE(distance(smooth(SmoothingKind::moving_average, z, p), literal({z, p})), 1e-14);
  p[5] = 1.0;  // a second document
  EXPECT_TRUE(at::equal(smooth(SmoothingKind::moving_average, z, p)[5], z[5]));
}

}  // namespace
}  // namespace dlcm
