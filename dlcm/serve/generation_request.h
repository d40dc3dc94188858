// What a client may ask of the model, as a struct: POST /v1/completions, /v1/chat/completions and /segment. Parsing is
// free of side effects; nothing is allocated beyond the size of the body.
#pragma once

#include "dlcm/serve/request_fields.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

// What one request may ask for at most.
struct RequestLimits {
  int64_t prompts = 512;
  int64_t samples = 128;     // of one prompt
  int64_t sequences = 1024;  // prompts times samples
  int64_t tokens = 8192;     // of a prompt and what is generated
  int64_t stops = 16;
  int64_t stop_bytes = 256;
  int64_t likely_tokens = 20;  // beside each token
  int64_t vocabulary = 0;      // ids of prompts are below
};

struct Prompt {
  std::optional<std::string> text;  // or:
  std::vector<int32_t> ids;
};

struct GenerationRequest {
  std::string model;  // empty where it was not named
  std::vector<Prompt> prompts;
  int64_t max_tokens = 16;
  int64_t samples = 1;  // n
  double temperature = 1.0, top_p = 1.0, min_p = 0.0;
  int64_t top_k = 0;
  std::optional<uint64_t> seed;
  std::vector<std::string> stops;
  bool ignore_end = false;               // extension ignore_eos: go on behind <|endoftext|>
  std::optional<int64_t> likely_tokens;  // logprobs; 0 gives those of the tokens themselves
  bool echo = false;
  bool stream = false;
  bool include_usage = false;
  // Extensions: how the text is cut into concepts, and whether that is told.
  std::optional<double> threshold, ratio;
  bool return_concepts = false;
};

// Throws ApiError naming the field that is wrong.
GenerationRequest parse_completion(std::string_view body, const RequestLimits& limits);
// One prompt with the text that chat_prompt() makes of the messages; adds the template's stop string.
GenerationRequest parse_chat(std::string_view body, const RequestLimits& limits);

struct SegmentRequest {
  std::string text;
  std::optional<double> threshold, ratio;
};
SegmentRequest parse_segment(std::string_view body);

struct TokenizeRequest {
  std::string text;
  bool add_special_tokens = true;
};
TokenizeRequest parse_tokenize(std::string_view body);
std::vector<int32_t> parse_detokenize(std::string_view body, const RequestLimits& limits);

// The chat template: what a base model has seen of dialogues in plain text.
struct ChatMessage {
  std::string role, content;
};
// In Jinja, as /tokenizer_info tells it.
std::string_view chat_template();
std::string chat_prompt(const std::vector<ChatMessage>& messages);
inline constexpr std::string_view kChatStop = "\nUser:";

}  // namespace dlcm
