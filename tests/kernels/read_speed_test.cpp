#include "dlcm/kernels/read_speed.h"

#include "tests/kernels/instruction_sets.h"

#include <gtest/gtest.h>

namespace dlcm {
namespace {

TEST(ReadSpeed, IsThatOfSomeMachineThatExists) {
  for (const int64_t set : instruction_sets()) {
    const OnInstructionSet on(set);
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      const double speed = read_speed(pool, 1 << 24, 2);
      EXPECT_GT(speed, 1e6);
      EXPECT_LT(speed, 1e13);
    }
  }
}

}  // namespace
}  // namespace dlcm
