#include "dlcm/serve/completion_answer.h"

#include "dlcm/infer/score.h"
#include "dlcm/infer/text_stream.h"
#include "dlcm/serve/api_error.h"
#include "dlcm/util/utf8.h"

#include <chrono>
#include <random>
#include <utility>

namespace dlcm {
namespace {

using json = nlohmann::ordered_json;

constexpr int kClientLeft = 499;

// From the system's source of randomness: seeds that were not asked for, and names of answers.
uint64_t random_number() {
  std::random_device source;
  return (static_cast<uint64_t>(source()) << 32) | source();
}

// One prompt's listener: passes everything on into the request's strand.
class PromptListener : public GenerationListener {
 public:
  PromptListener(std::shared_ptr<CompletionAnswer> answer, std::shared_ptr<TaskStrand> strand, size_t prompt,
                 int64_t samples)
      : answer_(std::move(answer)),
        strand_(std::move(strand)),
        prompt_(prompt),
        first_choice_(prompt * static_cast<size_t>(samples)) {}

  void prompt_read(PromptResult result) override {
    in_strand([prompt = prompt_, told = std::move(result)](auto& answer) { answer.prompt_read(prompt, told); });
  }
  void token_sampled(int64_t sample, SampledToken token) override {
    in_strand([choice = choice(sample), told = std::move(token)](auto& answer) { answer.token_sampled(choice, told); });
  }
  void sample_ended(int64_t sample, FinishReason end, std::string text) override {
    in_strand([choice = choice(sample), end, told = std::move(text)](auto& answer) {
      answer.sample_ended(choice, end, told);
    });
  }
  void failed(int status, const std::string& message) override {
    in_strand([status, message](auto& answer) { answer.failed(ApiError(status, message)); });
  }

 private:
  template <typename Action>
  void in_strand(Action action) {
    strand_->post([answer = answer_, action = std::move(action)] {
      try {
        action(*answer);
      } catch (const std::exception& error) {
        answer->failed(as_api_error(error));
      }
    });
  }
  size_t choice(int64_t sample) const { return first_choice_ + static_cast<size_t>(sample); }

  std::shared_ptr<CompletionAnswer> answer_;
  std::shared_ptr<TaskStrand> strand_;
  size_t prompt_, first_choice_;
};

std::string event(const json& frame) { return "data: " + frame.dump() + "\n\n"; }

}  // namespace

struct CompletionAnswer::Choice {
  explicit Choice(const Tokenizer& tokenizer) : logprobs(tokenizer), chat_logprobs(tokenizer) {}

  TextStream characters;
  std::string text;  // of a reply; a stream's is sent as it comes
  CompletionLogprobs logprobs;
  ChatLogprobs chat_logprobs;
  ConceptArrays concepts;
  json reply;  // where the answer is no stream: this choice, when it has ended
};

CompletionAnswer::CompletionAnswer(GenerationRequest request, bool chat, const ServedModel& model,
                                   std::shared_ptr<HttpAnswer> answer, std::shared_ptr<TaskStrand> strand,
                                   std::function<void(int)> done)
    : request_(std::move(request)),
      chat_(chat),
      model_(model),
      answer_(std::move(answer)),
      strand_(std::move(strand)),
      done_(std::move(done)),
      id_(fmt::format("{}-{:016x}", chat ? "chatcmpl" : "cmpl", random_number())),
      created_(std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
                   .count()),
      unfinished_(request_.prompts.size() * static_cast<size_t>(request_.samples)) {
  choices_.assign(unfinished_, Choice(model_.tokenizer()));
}

CompletionAnswer::~CompletionAnswer() {
  if (!over_) done_(kClientLeft);
}

std::vector<std::shared_ptr<GenerationTask>> CompletionAnswer::generations(double most_seconds) {
  model_.require_name(request_.model);
  if (request_.return_concepts) model_.require_concepts("return_concepts");
  const double threshold = model_.threshold(request_.threshold, request_.ratio);
  const uint64_t seed = request_.seed ? *request_.seed : random_number();
  const auto deadline = deadline_after(most_seconds);
  std::vector<std::shared_ptr<GenerationTask>> generations;
  for (size_t prompt = 0; prompt < request_.prompts.size(); ++prompt) {
    auto generation = std::make_shared<GenerationTask>();
    // A dialogue's text is text: nothing in it becomes a special token.
    generation->ids = chat_ ? document_ids(model_.tokenizer(), *request_.prompts[prompt].text)
                            : model_.ids_of(request_.prompts[prompt]);
    const auto tokens = static_cast<int64_t>(generation->ids.size());
    if (tokens + request_.max_tokens > model_.limits().tokens) {
      throw ApiError(400,
                     fmt::format("expected a prompt and max_tokens of at most {} tokens together, found {} and {}",
                                 model_.limits().tokens, tokens, request_.max_tokens),
                     chat_ ? "messages" : "prompt", "context_length_exceeded");
    }
    generation->samples = request_.samples;
    generation->max_tokens = request_.max_tokens;
    generation->sampling = {.temperature = request_.temperature,
                            .top_k = request_.top_k,
                            .top_p = request_.top_p,
                            .min_p = request_.min_p,
                            .seed = seed};
    generation->threshold = threshold;
    generation->stops = request_.stops;
    generation->ignore_end = request_.ignore_end;
    generation->likely_tokens = request_.likely_tokens;
    generation->score_prompt = request_.echo && request_.likely_tokens;
    generation->prompt_concepts = request_.echo && request_.return_concepts;
    generation->sample_concepts = request_.return_concepts;
    generation->deadline = deadline;
    generation->listener = std::make_shared<PromptListener>(shared_from_this(), strand_, prompt, request_.samples);
    generation->cancel = cancel_;
    prompt_ids_.push_back(generation->ids);
    generations.push_back(std::move(generation));
  }
  return generations;
}

void CompletionAnswer::begin() {
  answer_->when_gone([cancel = cancel_] { *cancel = true; });
  if (!request_.stream) return;
  streaming_ = true;
  answer_->begin_stream("text/event-stream; charset=utf-8");
  if (!chat_) return;
  for (size_t index = 0; index < choices_.size(); ++index) {
    auto frame = head("chat.completion.chunk");
    frame["choices"] = json::array({{{"index", index},
                                     {"delta", {{"role", "assistant"}, {"content", ""}}},
                                     {"logprobs", nullptr},
                                     {"finish_reason", nullptr}}});
    send(frame);
  }
}

void CompletionAnswer::prompt_read(size_t prompt, const PromptResult& result) {
  if (over_) return;
  prompt_tokens_ += static_cast<int64_t>(prompt_ids_[prompt].size());
  reused_tokens_ += result.reused_tokens;
  for (int64_t sample = 0; sample < request_.samples; ++sample) {
    const auto index = prompt * static_cast<size_t>(request_.samples) + static_cast<size_t>(sample);
    auto& choice = choices_[index];
    if (request_.echo) {
      echo(choice, prompt, result);
      if (request_.stream) send_chunk(index, std::exchange(choice.text, {}), nullptr);
    }
    choice.concepts.start(result.concepts);
  }
}

// The prompt as the beginning of a choice.
void CompletionAnswer::echo(Choice& choice, size_t prompt, const PromptResult& result) {
  const auto& ids = prompt_ids_[prompt];
  const auto& given = request_.prompts[prompt].text;
  for (size_t i = 0; i < ids.size(); ++i) {
    // The <|bos|> in front of a text is no part of it.
    const auto shown = i == 0 && given ? std::string() : model_.tokenizer().decode_with_specials({ids[i]});
    if (request_.likely_tokens) choice.logprobs.add(ids[i], shown, i == 0 ? nullptr : &result.scores[i - 1]);
    if (request_.return_concepts) choice.concepts.add(result.read.boundary_prob[i], result.read.boundary[i] != 0);
    choice.text += choice.characters.push(shown);
  }
}

void CompletionAnswer::token_sampled(size_t index, const SampledToken& token) {
  if (over_) return;
  auto& choice = choices_[index];
  ++sampled_tokens_;
  if (request_.likely_tokens && chat_) choice.chat_logprobs.add(token.id, *token.score);
  if (request_.likely_tokens && !chat_) {
    choice.logprobs.add(token.id, model_.tokenizer().piece(token.id), &*token.score);
  }
  if (request_.return_concepts) choice.concepts.add(token.boundary_prob, token.boundary);
  const auto text = choice.characters.push(token.text);
  if (!request_.stream) {
    choice.text += text;
  } else if (!text.empty() || request_.likely_tokens || request_.return_concepts) {
    send_chunk(index, text, nullptr);
  }
}

void CompletionAnswer::sample_ended(size_t index, FinishReason end, const std::string& text) {
  if (over_) return;
  auto& choice = choices_[index];
  auto rest = choice.characters.push(text);
  rest += choice.characters.finish();
  const json reason = end == FinishReason::stop ? "stop" : "length";
  if (request_.stream) {
    send_chunk(index, rest, reason);
  } else {
    choice.reply = choice_json(index, choice, choice.text + rest, reason);
  }
  if (--unfinished_ == 0) complete();
}

void CompletionAnswer::failed(const ApiError& error) {
  if (std::exchange(over_, true)) return;
  *cancel_ = true;
  if (streaming_) {
    answer_->stream("data: " + error.json() + "\n\n");
    answer_->end_stream();
  } else {
    answer_->reply(error.reply());
  }
  done_(error.status());
}

json CompletionAnswer::head(std::string_view object) const {
  json frame;
  frame["id"] = id_;
  frame["object"] = object;
  frame["created"] = created_;
  frame["model"] = model_.name();
  return frame;
}

json CompletionAnswer::choice_json(size_t index, Choice& choice, const std::string& text, json finish_reason) {
  json entry;
  entry["index"] = index;
  const auto valid = valid_utf8(text);
  if (!chat_) {
    entry["text"] = valid;
  } else if (request_.stream) {
    entry["delta"] = valid.empty() ? json::object() : json{{"content", valid}};
  } else {
    entry["message"] = {{"role", "assistant"}, {"content", valid}, {"refusal", nullptr}};
  }
  entry["logprobs"] = chat_ ? choice.chat_logprobs.take() : choice.logprobs.take();
  entry["finish_reason"] = std::move(finish_reason);
  if (request_.return_concepts) entry["concepts"] = choice.concepts.take();
  return entry;
}

void CompletionAnswer::send_chunk(size_t index, const std::string& text, json finish_reason) {
  auto frame = head(chat_ ? "chat.completion.chunk" : "text_completion");
  frame["choices"] = json::array({choice_json(index, choices_[index], text, std::move(finish_reason))});
  if (request_.include_usage) frame["usage"] = nullptr;
  send(frame);
}

void CompletionAnswer::send(const json& frame) { answer_->stream(event(frame)); }

json CompletionAnswer::usage() const {
  json usage;
  usage["prompt_tokens"] = prompt_tokens_;
  usage["completion_tokens"] = sampled_tokens_;
  usage["total_tokens"] = prompt_tokens_ + sampled_tokens_;
  usage["prompt_tokens_details"] = {{"cached_tokens", reused_tokens_}};
  return usage;
}

void CompletionAnswer::complete() {
  over_ = true;
  if (request_.stream) {
    if (request_.include_usage) {
      auto frame = head(chat_ ? "chat.completion.chunk" : "text_completion");
      frame["choices"] = json::array();
      frame["usage"] = usage();
      send(frame);
    }
    answer_->stream("data: [DONE]\n\n");
    answer_->end_stream();
  } else {
    auto reply = head(chat_ ? "chat.completion" : "text_completion");
    auto& choices = reply["choices"] = json::array();
    for (auto& choice : choices_) choices.push_back(std::move(choice.reply));
    reply["usage"] = usage();
    answer_->reply({.body = reply.dump()});
  }
  done_(200);
}

}  // namespace dlcm
