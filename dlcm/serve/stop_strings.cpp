#include "dlcm/serve/stop_strings.h"

#include <algorithm>
#include <utility>

namespace dlcm {

std::string StopStrings::push(std::string_view bytes) {
  if (stopped_) return {};
  held_ += bytes;
  size_t shown = std::string::npos;
  for (const auto& stop : stops_) shown = std::min(shown, held_.find(stop));
  if (shown != std::string::npos) {
    stopped_ = true;
    return std::exchange(held_, {}).substr(0, shown);
  }
  // The longest end that is the beginning of a stop string waits.
  size_t waiting = 0;
  for (const auto& stop : stops_) {
    for (size_t length = std::min(stop.size() - 1, held_.size()); length > waiting; --length) {
      if (std::string_view(held_).substr(held_.size() - length) == std::string_view(stop).substr(0, length)) {
        waiting = length;
      }
    }
  }
  auto text = held_.substr(0, held_.size() - waiting);
  held_.erase(0, held_.size() - waiting);
  return text;
}

std::string StopStrings::finish() { return std::exchange(held_, {}); }

}  // namespace dlcm
