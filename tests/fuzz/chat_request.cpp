// Bodies of POST /v1/chat/completions: no bytes may crash the parser; what it takes is one prompt in the template's
// form.
#include "dlcm/serve/generation_request.h"
#include "dlcm/util/utf8.h"
#include "tests/fuzz/harness.h"

namespace dlcm {

DLCM_FUZZ_HARNESS(chat_request) {
  const RequestLimits limits{.tokens = 4096, .vocabulary = 258};
  const auto request = parse_chat(bytes, limits);
  fuzz::expect(request.prompts.size() == 1 && request.prompts.front().text.has_value());
  const auto& text = *request.prompts.front().text;
  fuzz::expect(is_utf8(text) && text.ends_with("\nAssistant:"));
  fuzz::expect(!request.stops.empty() && request.stops.back() == kChatStop);
  fuzz::expect(request.max_tokens >= 1 && request.max_tokens <= limits.tokens && !request.echo);
  fuzz::expect(request.samples >= 1 && request.samples <= limits.samples);
}

}  // namespace dlcm
