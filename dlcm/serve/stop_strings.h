// Ends a text at the first of some strings, wherever the borders of its tokens lie.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // The bytes that can be shown now that `bytes` have come: all before the first stop string, but for an end that may
  // become one.
  std::string push(std::string_view bytes);
  // Whether a stop string has come: it and what follows are never shown.
  bool stopped() const { return stopped_; }
  // What is still held back; nothing where the text has stopped.
  std::string finish();

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace dlcm
