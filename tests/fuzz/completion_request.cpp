// Bodies of POST /v1/completions: no bytes may crash the parser, and what it takes is within the limits.
#include "dlcm/serve/generation_request.h"
#include "tests/fuzz/harness.h"

#include <cmath>

namespace dlcm {

DLCM_FUZZ_HARNESS(completion_request) {
  const RequestLimits limits{.tokens = 4096, .vocabulary = 258};
  const auto request = parse_completion(bytes, limits);
  fuzz::expect(!request.prompts.empty() && static_cast<int64_t>(request.prompts.size()) <= limits.prompts);
  size_t held = 0;
  for (const auto& prompt : request.prompts) {
    fuzz::expect(prompt.text.has_value() || !prompt.ids.empty());
    for (const auto id : prompt.ids) fuzz::expect(id >= 0 && id < limits.vocabulary);
    held += prompt.ids.size() + prompt.text.value_or("").size();
  }
  fuzz::expect(held <= bytes.size());
  fuzz::expect(request.samples >= 1 &&
               static_cast<int64_t>(request.prompts.size()) * request.samples <= limits.sequences);
  fuzz::expect(request.max_tokens >= (request.echo ? 0 : 1) && request.max_tokens <= limits.tokens);
  fuzz::expect(std::isfinite(request.temperature) && request.temperature >= 0.0);
  fuzz::expect(request.top_p > 0.0 && request.top_p <= 1.0 && request.min_p >= 0.0 && request.min_p <= 1.0);
  fuzz::expect(request.top_k >= 0);
  fuzz::expect(static_cast<int64_t>(request.stops.size()) <= limits.stops);
  for (const auto& stop : request.stops) {
    fuzz::expect(!stop.empty() && static_cast<int64_t>(stop.size()) <= limits.stop_bytes);
  }
  fuzz::expect(!request.likely_tokens ||
               (*request.likely_tokens >= 0 && *request.likely_tokens <= limits.likely_tokens));
  fuzz::expect(!request.threshold || (*request.threshold >= 0.0 && *request.threshold <= 1.0));
  fuzz::expect(!request.ratio || *request.ratio >= 1.0);
}

}  // namespace dlcm
