// The memory of this process, from the kernel.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>

namespace dlcm::test {

// Peak resident bytes since the last reset.
inline int64_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoll(line.substr(6)) * 1024;
  }
  return 0;
}

inline void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace dlcm::test
