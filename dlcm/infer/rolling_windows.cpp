#include "dlcm/infer/rolling_windows.h"

namespace dlcm {

std::vector<RollingWindow> rolling_windows(const std::vector<int64_t>& lengths, int64_t context) {
  std::vector<RollingWindow> windows;
  for (size_t document = 0; document < lengths.size(); ++document) {
    const int64_t predicted = lengths[document] - 1;
    int64_t first = 0;  // row that predicts the window's first target
    do {
      const bool last = first + context >= predicted;
      windows.push_back({.document = document,
                         .begin = last && first > 0 ? predicted - context : first,
                         .first = first,
                         .end = last ? predicted + 1 : first + context});
      first += context;
    } while (first < predicted);
  }
  return windows;
}

}  // namespace dlcm
