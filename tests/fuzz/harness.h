// What every fuzz harness shares. A harness is one file, NAME.cpp, with one function of bytes that nobody trusts:
//
//     DLCM_FUZZ_HARNESS(NAME) { read(bytes); }
//
// It may throw dlcm::Error; whatever else goes wrong is a finding, and it calls `expect` on what must hold. The preset
// `fuzz` makes a libFuzzer binary fuzz_NAME of it; the suite replays corpus/NAME.
#pragma once

#include "dlcm/util/error.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

#define DLCM_FUZZ_HARNESS(name)                    \
  static void fuzz_##name(std::string_view bytes); \
  DLCM_FUZZ_REGISTER(name)                         \
  static void fuzz_##name(std::string_view bytes)

#ifdef DLCM_FUZZING
#define DLCM_FUZZ_REGISTER(name)                                            \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { \
    try {                                                                   \
      fuzz_##name({reinterpret_cast<const char*>(data), size});             \
    } catch (const dlcm::Error&) {                                          \
    }                                                                       \
    return 0;                                                               \
  }
#else
#define DLCM_FUZZ_REGISTER(name) static const dlcm::fuzz::Registration registration_##name(#name, &fuzz_##name);
#endif

namespace dlcm::fuzz {

// Harnesses of the suite's binary; replay.cpp lists and runs them.
struct Registration {
  Registration(const char* name, void (*harness)(std::string_view));
};

inline void expect(bool holds) {
  if (!holds) std::abort();
}

}  // namespace dlcm::fuzz
