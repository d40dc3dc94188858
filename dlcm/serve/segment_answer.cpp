#include "dlcm/serve/segment_answer.h"

#include "dlcm/analysis/segmentation_view.h"
#include "dlcm/infer/score.h"
#include "dlcm/serve/api_error.h"
#include "dlcm/serve/token_arrays.h"
#include "dlcm/util/utf8.h"

#include <nlohmann/json.hpp>

#include <utility>

namespace dlcm {
namespace {

using json = nlohmann::ordered_json;

constexpr int kClientLeft = 499;

}  // namespace

class SegmentAnswer::Listener : public GenerationListener {
 public:
  Listener(std::shared_ptr<SegmentAnswer> answer, std::shared_ptr<TaskStrand> strand)
      : answer_(std::move(answer)), strand_(std::move(strand)) {}

  void prompt_read(PromptResult result) override {
    strand_->post([answer = answer_, told = std::move(result)] {
      try {
        answer->read(told);
      } catch (const std::exception& error) {
        answer->refused(as_api_error(error));
      }
    });
  }
  void token_sampled(int64_t, SampledToken) override {}
  void sample_ended(int64_t, FinishReason, std::string) override {}
  void failed(int status, const std::string& message) override {
    strand_->post([answer = answer_, status, message] { answer->refused(ApiError(status, message)); });
  }

 private:
  std::shared_ptr<SegmentAnswer> answer_;
  std::shared_ptr<TaskStrand> strand_;
};

SegmentAnswer::SegmentAnswer(SegmentRequest request, const ServedModel& model, std::shared_ptr<HttpAnswer> answer,
                             std::shared_ptr<TaskStrand> strand, std::function<void(int)> done)
    : request_(std::move(request)),
      model_(model),
      answer_(std::move(answer)),
      strand_(std::move(strand)),
      done_(std::move(done)) {}

SegmentAnswer::~SegmentAnswer() {
  if (!over_) done_(kClientLeft);
}

std::shared_ptr<GenerationTask> SegmentAnswer::generation(double most_seconds) {
  model_.require_concepts("text");
  threshold_ = model_.threshold(request_.threshold, request_.ratio);
  ids_ = document_ids(model_.tokenizer(), request_.text);
  if (static_cast<int64_t>(ids_.size()) > model_.limits().tokens) {
    throw ApiError(400,
                   fmt::format("expected a text of at most {} tokens, found {}", model_.limits().tokens, ids_.size()),
                   "text", "context_length_exceeded");
  }
  auto generation = std::make_shared<GenerationTask>();
  generation->ids = ids_;
  generation->threshold = threshold_;
  generation->prompt_concepts = true;
  generation->deadline = deadline_after(most_seconds);
  generation->listener = std::make_shared<Listener>(shared_from_this(), strand_);
  generation->cancel = cancel_;
  return generation;
}

void SegmentAnswer::begin() {
  answer_->when_gone([cancel = cancel_] { *cancel = true; });
}

void SegmentAnswer::refused(const ApiError& error) {
  if (std::exchange(over_, true)) return;
  answer_->reply(error.reply());
  done_(error.status());
}

void SegmentAnswer::read(const PromptResult& result) {
  if (over_) return;
  ScoredDocument document;
  document.ids = ids_;
  json names = json::array();
  for (const auto id : ids_) {
    document.pieces.push_back(model_.tokenizer().piece(id));
    names.push_back(token_name(model_.tokenizer(), id));
  }
  document.boundary_prob.assign(result.read.boundary_prob.begin(), result.read.boundary_prob.end());
  document.boundary.assign(result.read.boundary.begin(), result.read.boundary.end());
  json concepts = json::array();
  for (const auto& entry : concepts_of(document)) {
    concepts.push_back({{"text", entry.text}, {"tokens", entry.tokens}, {"boundary_prob", entry.boundary_prob}});
  }
  json reply;
  reply["text"] = valid_utf8(request_.text);
  reply["threshold"] = threshold_;
  reply["tokens_per_concept"] = static_cast<double>(ids_.size()) / static_cast<double>(concepts.size());
  reply["concepts"] = std::move(concepts);
  reply["tokens"] = std::move(names);
  reply["boundary_prob"] = document.boundary_prob;
  reply["boundary"] = document.boundary;
  over_ = true;
  answer_->reply({.body = reply.dump()});
  done_(200);
}

}  // namespace dlcm
