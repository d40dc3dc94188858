#include "dlcm/serve/generation_request.h"

#include <array>
#include <cctype>
#include <limits>

namespace dlcm {
namespace {

using nlohmann::json;

constexpr int64_t kChatTokens = 256;  // where a chat request names no number
constexpr double kHottest = 100.0;
constexpr double kLongestRatio = 1e6;

std::vector<int32_t> ids_of(const json& array, std::string_view param, const RequestLimits& limits) {
  std::vector<int32_t> ids;
  ids.reserve(array.size());
  for (const auto& id : array) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(limits.vocabulary)) {
      throw bad_request(param, "expected ids from 0 to {} in {}, found {} at place {}", limits.vocabulary - 1, param,
                        found(id), ids.size());
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

std::vector<Prompt> prompts_of(const RequestFields& fields, const RequestLimits& limits) {
  const auto& value = fields.value("prompt");
  if (value.is_null()) return {{.text = "", .ids = {}}};  // a new document
  if (value.is_string()) return {{.text = value.get<std::string>(), .ids = {}}};
  if (!value.is_array() || value.empty()) {
    throw bad_request("prompt",
                      "expected a string, a list of strings, a list of ids or a list of such lists as prompt, "
                      "found {}",
                      value.is_array() ? "an empty list" : found(value));
  }
  if (value.front().is_number()) return {{.text = {}, .ids = ids_of(value, "prompt", limits)}};
  if (static_cast<int64_t>(value.size()) > limits.prompts) {
    throw bad_request("prompt", "expected at most {} prompts in a request, found {}", limits.prompts, value.size());
  }
  std::vector<Prompt> prompts;
  for (const auto& entry : value) {
    if (entry.is_string()) {
      prompts.push_back({.text = entry.get<std::string>(), .ids = {}});
    } else if (entry.is_array() && !entry.empty()) {
      prompts.push_back({.text = {}, .ids = ids_of(entry, "prompt", limits)});
    } else {
      throw bad_request("prompt",
                        "expected strings, or lists of ids that are not empty, in prompt, found {} at place {}",
                        entry.is_array() ? "an empty list" : found(entry), prompts.size());
    }
  }
  return prompts;
}

std::vector<std::string> stops_of(const RequestFields& fields, const RequestLimits& limits) {
  const auto& value = fields.value("stop");
  std::vector<std::string> stops;
  const auto add = [&](const json& entry) {
    if (!entry.is_string()) throw bad_request("stop", "expected strings as stop, found {}", found(entry));
    const auto& stop = entry.get_ref<const std::string&>();
    if (static_cast<int64_t>(stop.size()) > limits.stop_bytes) {
      throw bad_request("stop", "expected stop strings of at most {} bytes, found {}", limits.stop_bytes, stop.size());
    }
    if (!stop.empty()) stops.push_back(stop);
  };
  if (value.is_null()) return stops;
  if (!value.is_array()) {
    add(value);
    return stops;
  }
  if (static_cast<int64_t>(value.size()) > limits.stops) {
    throw bad_request("stop", "expected at most {} stop strings, found {}", limits.stops, value.size());
  }
  for (const auto& entry : value) add(entry);
  return stops;
}

void read_concepts(const RequestFields& fields, std::optional<double>& threshold, std::optional<double>& ratio) {
  threshold = fields.number("threshold", 0.0, 1.0);
  ratio = fields.number("ratio", 1.0, kLongestRatio);
  if (threshold && ratio) throw bad_request("ratio", "expected threshold or ratio, found both: leave one out");
}

// Parameters of OpenAI's API that would change the answer and are not there.
void refuse_unsupported(const RequestFields& fields) {
  constexpr std::string_view kAdvice = "leave it out";
  for (const auto* name : {"presence_penalty", "frequency_penalty"}) {
    const auto& value = fields.value(name);
    fields.refuse_unless(name, value.is_number() && value.get<double>() == 0.0, kAdvice);
  }
  for (const auto* name : {"logit_bias", "tools", "functions"}) {
    const auto& value = fields.value(name);
    fields.refuse_unless(name, value.is_structured() && value.empty(), kAdvice);
  }
  const auto& format = fields.value("response_format");
  fields.refuse_unless("response_format", format.is_object() && format.value("type", json()) == "text", kAdvice);
  const auto& suffix = fields.value("suffix");
  fields.refuse_unless("suffix", suffix.is_string() && suffix.get_ref<const std::string&>().empty(), kAdvice);
}

// What both kinds of completions have.
GenerationRequest parse_common(const RequestFields& fields, const RequestLimits& limits) {
  refuse_unsupported(fields);
  GenerationRequest request;
  request.model = fields.text("model").value_or("");
  request.samples = fields.whole("n", 1, limits.samples).value_or(1);
  fields.refuse_unless("best_of", fields.whole("best_of", 1, limits.samples) == request.samples,
                       "only n is, or a best_of that equals it");
  request.temperature = fields.number("temperature", 0.0, kHottest).value_or(1.0);
  request.top_p = fields.number("top_p", 0.0, 1.0).value_or(1.0);
  if (request.top_p == 0.0) throw bad_request("top_p", "expected top_p above 0 and at most 1, found 0");
  request.min_p = fields.number("min_p", 0.0, 1.0).value_or(0.0);
  // -1 stands for all in other servers.
  request.top_k = std::max<int64_t>(0, fields.whole("top_k", -1, std::numeric_limits<int32_t>::max()).value_or(0));
  if (const auto seed =
          fields.whole("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max())) {
    request.seed = static_cast<uint64_t>(*seed);
  }
  request.stops = stops_of(fields, limits);
  request.ignore_end = fields.flag("ignore_eos").value_or(false);
  request.stream = fields.flag("stream").value_or(false);
  const auto& options = fields.value("stream_options");
  if (!options.is_null()) {
    if (!options.is_object()) {
      throw bad_request("stream_options", "expected an object as stream_options, found {}", found(options));
    }
    const auto usage = options.value("include_usage", json(false));
    if (!usage.is_boolean() && !usage.is_null()) {
      throw bad_request("stream_options", "expected true or false as stream_options.include_usage, found {}",
                        found(usage));
    }
    request.include_usage = usage == true;
  }
  read_concepts(fields, request.threshold, request.ratio);
  request.return_concepts = fields.flag("return_concepts").value_or(false);
  return request;
}

void check_sequences(const GenerationRequest& request, const RequestLimits& limits) {
  const auto sequences = static_cast<int64_t>(request.prompts.size()) * request.samples;
  if (sequences > limits.sequences) {
    throw bad_request("n", "expected at most {} sequences in a request, found {} prompts times n = {}",
                      limits.sequences, request.prompts.size(), request.samples);
  }
}

// A content is a string or a list of parts, of which only text is known here.
std::string content_of(const json& value, const std::string& param) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) {
    throw bad_request(param, "expected a string or a list of parts as {}, found {}", param, found(value));
  }
  std::string content;
  for (const auto& part : value) {
    if (!part.is_object() || part.value("type", json()) != "text" || !part.value("text", json()).is_string()) {
      throw bad_request(param, "expected parts of type text in {}, found another kind", param);
    }
    content += part.at("text").get_ref<const std::string&>();
  }
  return content;
}

std::vector<ChatMessage> messages_of(const RequestFields& fields, const RequestLimits& limits) {
  const auto& value = fields.value("messages");
  if (!value.is_array() || value.empty()) {
    throw bad_request("messages", "expected a list of messages as messages, found {}",
                      value.is_array() ? "an empty one" : found(value));
  }
  if (static_cast<int64_t>(value.size()) > limits.tokens) {
    throw bad_request("messages", "expected at most {} messages, found {}", limits.tokens, value.size());
  }
  constexpr std::array kRoles{"system", "developer", "user", "assistant"};
  std::vector<ChatMessage> messages;
  for (const auto& entry : value) {
    const auto param = fmt::format("messages[{}]", messages.size());
    if (!entry.is_object()) throw bad_request(param, "expected an object as {}, found {}", param, found(entry));
    const auto role = entry.value("role", json());
    if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) {
      throw bad_request(param + ".role", "expected system, developer, user or assistant as {}.role, found {}", param,
                        found(role));
    }
    messages.push_back({role.get<std::string>(), content_of(entry.value("content", json()), param + ".content")});
  }
  return messages;
}

}  // namespace

GenerationRequest parse_completion(std::string_view body, const RequestLimits& limits) {
  const RequestFields fields(body);
  auto request = parse_common(fields, limits);
  request.prompts = prompts_of(fields, limits);
  request.echo = fields.flag("echo").value_or(false);
  request.max_tokens = fields.whole("max_tokens", 0, limits.tokens).value_or(request.max_tokens);
  if (request.max_tokens == 0 && !request.echo) {
    throw bad_request("max_tokens", "expected max_tokens of at least 1, or echo, found 0 and no echo");
  }
  request.likely_tokens = fields.whole("logprobs", 0, limits.likely_tokens);
  check_sequences(request, limits);
  return request;
}

GenerationRequest parse_chat(std::string_view body, const RequestLimits& limits) {
  const RequestFields fields(body);
  auto request = parse_common(fields, limits);
  request.prompts = {{.text = chat_prompt(messages_of(fields, limits)), .ids = {}}};
  request.stops.emplace_back(kChatStop);
  const auto tokens = fields.whole("max_completion_tokens", 1, limits.tokens);
  const auto older = fields.whole("max_tokens", 1, limits.tokens);
  request.max_tokens = tokens ? *tokens : older.value_or(kChatTokens);
  const auto likely = fields.whole("top_logprobs", 0, limits.likely_tokens);
  if (fields.flag("logprobs").value_or(false)) {
    request.likely_tokens = likely.value_or(0);
  } else if (likely.value_or(0) > 0) {
    throw bad_request("top_logprobs", "top_logprobs needs logprobs: set it to true, or leave top_logprobs out");
  }
  check_sequences(request, limits);
  return request;
}

SegmentRequest parse_segment(std::string_view body) {
  const RequestFields fields(body);
  SegmentRequest request;
  const auto text = fields.text("text");
  if (!text) throw bad_request("text", "expected a string as text, found none");
  request.text = *text;
  read_concepts(fields, request.threshold, request.ratio);
  return request;
}

TokenizeRequest parse_tokenize(std::string_view body) {
  const RequestFields fields(body);
  const auto text = fields.text("prompt");
  if (!text) throw bad_request("prompt", "expected a string as prompt, found none");
  return {.text = *text, .add_special_tokens = fields.flag("add_special_tokens").value_or(true)};
}

std::vector<int32_t> parse_detokenize(std::string_view body, const RequestLimits& limits) {
  const RequestFields fields(body);
  const auto& tokens = fields.value("tokens");
  if (!tokens.is_array()) throw bad_request("tokens", "expected a list of ids as tokens, found {}", found(tokens));
  return ids_of(tokens, "tokens", limits);
}

std::string_view chat_template() {
  return "{% for message in messages %}"
         "{{ 'System' if message['role'] in ['system', 'developer'] else message['role'] | capitalize }}: "
         "{{ message['content'] }}\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}";
}

std::string chat_prompt(const std::vector<ChatMessage>& messages) {
  std::string prompt;
  for (const auto& message : messages) {
    auto name = message.role == "developer" ? "system" : message.role;
    name.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(name.front())));
    prompt += name + ": " + message.content + "\n";
  }
  return prompt + "Assistant:";
}

}  // namespace dlcm
