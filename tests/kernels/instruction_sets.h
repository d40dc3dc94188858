// Runs a test's body on each instruction set of this CPU that the kernels are compiled for.
#pragma once

#include <hwy/targets.h>

#include <cstdint>
#include <vector>

namespace dlcm {

// Highway's names of the sets, the plainest first.
inline std::vector<int64_t> instruction_sets() {
  std::vector<int64_t> sets;
  for (const int64_t set : {HWY_SCALAR, HWY_AVX2, HWY_AVX3, HWY_AVX3_DL}) {
    if (hwy::SupportedTargets() & set) sets.push_back(set);
  }
  return sets;
}

// Those with fused multiply-add, on which results are the same bits.
inline std::vector<int64_t> fused_instruction_sets() {
  auto sets = instruction_sets();
  std::erase(sets, HWY_SCALAR);
  return sets;
}

// While it lives, kernels run on this set, or on a plainer one where they have nothing better to do with it.
class OnInstructionSet {
 public:
  explicit OnInstructionSet(int64_t set) { allow(hwy::SupportedTargets() & ~(set - 1)); }
  ~OnInstructionSet() { allow(0); }
  OnInstructionSet(const OnInstructionSet&) = delete;
  OnInstructionSet& operator=(const OnInstructionSet&) = delete;

 private:
  static void allow(int64_t sets) {
    hwy::SetSupportedTargetsForTest(sets);  // 0: all again
    hwy::GetChosenTarget().DeInit();
  }
};

}  // namespace dlcm
