// The answer to POST /segment: a text with its concepts.
#pragma once

#include "dlcm/serve/api_error.h"
#include "dlcm/serve/generation_request.h"
#include "dlcm/serve/generation_task.h"
#include "dlcm/serve/http_message.h"
#include "dlcm/serve/served_model.h"
#include "dlcm/serve/task_threads.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace dlcm {

class SegmentAnswer : public std::enable_shared_from_this<SegmentAnswer> {
 public:
  // `done` gets the answer's status, once; 499 where the client left before its end.
  SegmentAnswer(SegmentRequest request, const ServedModel& model, std::shared_ptr<HttpAnswer> answer,
                std::shared_ptr<TaskStrand> strand, std::function<void(int)> done);
  ~SegmentAnswer();

  // What the scheduler is to read. Throws ApiError.
  std::shared_ptr<GenerationTask> generation(double most_seconds);
  void begin();
  void refused(const ApiError& error);

 private:
  class Listener;

  // {"text", "tokens", "boundary_prob", "boundary", "concepts": [{"text", "tokens", "boundary_prob"}], "threshold",
  // "tokens_per_concept"}: arrays hold one entry a token, <|bos|> first.
  void read(const PromptResult& result);

  SegmentRequest request_;
  const ServedModel& model_;
  std::shared_ptr<HttpAnswer> answer_;
  std::shared_ptr<TaskStrand> strand_;
  std::function<void(int)> done_;
  std::shared_ptr<std::atomic<bool>> cancel_ = std::make_shared<std::atomic<bool>>(false);
  std::vector<int32_t> ids_;
  double threshold_ = 0.0;
  bool over_ = false;
};

}  // namespace dlcm
