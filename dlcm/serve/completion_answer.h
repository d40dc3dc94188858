// The answer to one completion request: gathers what the scheduler tells of its prompts and writes it, at the end or as
// it comes, in the form of OpenAI's API.
#pragma once

#include "dlcm/serve/api_error.h"
#include "dlcm/serve/generation_request.h"
#include "dlcm/serve/generation_task.h"
#include "dlcm/serve/http_message.h"
#include "dlcm/serve/served_model.h"
#include "dlcm/serve/task_threads.h"
#include "dlcm/serve/token_arrays.h"

#include <nlohmann/json.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace dlcm {

class CompletionAnswer : public std::enable_shared_from_this<CompletionAnswer> {
 public:
  // `done` gets the answer's status, once; 499 where the client left before its end. Everything but the listeners'
  // calls happens in the strand.
  CompletionAnswer(GenerationRequest request, bool chat, const ServedModel& model, std::shared_ptr<HttpAnswer> answer,
                   std::shared_ptr<TaskStrand> strand, std::function<void(int)> done);
  ~CompletionAnswer();

  // What the scheduler is to do: one for each prompt, with this as their listener. Throws ApiError.
  std::vector<std::shared_ptr<GenerationTask>> generations(double most_seconds);
  // Begins a stream, watches the client. After the scheduler has taken the generations.
  void begin();

  // In the strand; `choice` counts prompts times samples.
  void prompt_read(size_t prompt, const PromptResult& result);
  void token_sampled(size_t choice, const SampledToken& token);
  void sample_ended(size_t choice, FinishReason end, const std::string& text);
  // Also before begin().
  void failed(const ApiError& error);

 private:
  using json = nlohmann::ordered_json;
  struct Choice;

  void echo(Choice& choice, size_t prompt, const PromptResult& result);
  json head(std::string_view object) const;
  json choice_json(size_t index, Choice& choice, const std::string& text, json finish_reason);
  void send_chunk(size_t index, const std::string& text, json finish_reason);
  void send(const json& frame);
  json usage() const;
  void complete();

  GenerationRequest request_;
  bool chat_;
  const ServedModel& model_;
  std::shared_ptr<HttpAnswer> answer_;
  std::shared_ptr<TaskStrand> strand_;
  std::function<void(int)> done_;
  std::string id_;
  int64_t created_;
  // The generations hold this as their listener, so this holds none of them.
  std::shared_ptr<std::atomic<bool>> cancel_ = std::make_shared<std::atomic<bool>>(false);
  std::vector<std::vector<int32_t>> prompt_ids_;
  std::vector<Choice> choices_;
  size_t unfinished_;  // choices
  bool streaming_ = false;
  bool over_ = false;
  int64_t prompt_tokens_ = 0, reused_tokens_ = 0, sampled_tokens_ = 0;
};

}  // namespace dlcm
