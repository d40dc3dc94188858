// Documents longer than the model's context, in the windows in which lm-evaluation-harness reads them: every token is
// predicted once, each window predicts `context` tokens, and the last one reaches back into the one before it, so that
// it, too, has a whole context.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dlcm {

// Rows [begin, end) of a document, read as if it began there. Those from `first` on count; the others are only context.
// A row predicts the id after it; the last id of a document has a row, too, from which nothing is predicted.
struct RollingWindow {
  size_t document = 0;
  int64_t begin = 0, first = 0, end = 0;

  int64_t rows() const { return end - begin; }
  bool operator==(const RollingWindow&) const = default;
};

// The windows of documents of these lengths, each at least 1.
std::vector<RollingWindow> rolling_windows(const std::vector<int64_t>& lengths, int64_t context);

}  // namespace dlcm
