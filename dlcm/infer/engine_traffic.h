// What the engine has read from memory and computed.
#pragma once

#include <cstdint>

namespace dlcm {

struct EngineTraffic {
  int64_t weight_bytes = 0;  // each matrix once a pass in which it was used
  int64_t cache_bytes = 0;   // each visible key and value once a pass and sequence
  int64_t rows = 0;          // token rows
  int64_t concepts = 0;      // rows of the backbone
  int64_t passes = 0;
};

}  // namespace dlcm
