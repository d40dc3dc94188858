// Bodies of POST /segment, /tokenize and /detokenize: the first byte says which, the others are the body.
#include "dlcm/serve/generation_request.h"
#include "dlcm/util/utf8.h"
#include "tests/fuzz/harness.h"

namespace dlcm {

DLCM_FUZZ_HARNESS(text_request) {
  if (bytes.empty()) return;
  const auto body = bytes.substr(1);
  const RequestLimits limits{.tokens = 4096, .vocabulary = 258};
  switch (bytes.front()) {
    case 's': {
      const auto request = parse_segment(body);
      fuzz::expect(is_utf8(request.text) && !(request.threshold && request.ratio));
      return;
    }
    case 't': {
      fuzz::expect(is_utf8(parse_tokenize(body).text));
      return;
    }
    case 'd': {
      for (const auto id : parse_detokenize(body, limits)) fuzz::expect(id >= 0 && id < limits.vocabulary);
      return;
    }
    default:
      return;
  }
}

}  // namespace dlcm
