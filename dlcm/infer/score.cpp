#include "dlcm/infer/score.h"

#include "dlcm/data/dataset.h"
#include "dlcm/infer/token_scores.h"
#include "dlcm/util/utf8.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace dlcm {
namespace {

// Rows of batches, which hold the documents' tokens in order, written to where they belong.
class Place {
 public:
  explicit Place(std::vector<ScoredDocument>& documents) : documents_(documents) { skip_full(); }

  ScoredDocument& document() { return documents_[document_]; }
  size_t token() const { return token_; }
  void advance() {
    ++token_;
    skip_full();
  }

 private:
  void skip_full() {
    while (document_ < documents_.size() && token_ == documents_[document_].ids.size()) {
      ++document_;
      token_ = 0;
    }
  }

  std::vector<ScoredDocument>& documents_;
  size_t document_ = 0;
  size_t token_ = 0;
};

// The scores of the rows that have a target, in their order.
std::vector<TokenScore> target_scores(const LanguageModel& model, const Batch& batch, const at::Tensor& y_TD) {
  std::vector<TokenQuery> queries;
  const auto* target = batch.target_T.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < batch.tokens(); ++t) {
    if (target[t] >= 0) queries.push_back({t, target[t]});
  }
  return token_scores(model, y_TD, queries);
}

void fill(const Batch& batch, const std::vector<TokenScore>& scores, const std::optional<Cut>& cut, Place& place) {
  const auto p = cut ? cut->p_T.to(at::kDouble).contiguous() : at::Tensor();
  const auto* p_row = cut ? p.const_data_ptr<double>() : nullptr;
  const auto* boundary = cut ? cut->boundary_T.const_data_ptr<bool>() : nullptr;
  const auto* token = batch.token_T.const_data_ptr<int64_t>();
  auto next = scores.begin();
  for (int64_t t = 0; t < batch.tokens(); ++t, place.advance()) {
    auto& document = place.document();
    TORCH_CHECK(token[t] == document.ids[place.token()],
                "score: a batch's rows are not the documents' tokens in order");
    if (cut) {
      document.boundary_prob[place.token()] = p_row[t];
      document.boundary[place.token()] = boundary[t];
    }
    // The row of a token holds the score of the one after it.
    if (place.token() + 1 == document.ids.size()) continue;
    document.logprobs[place.token() + 1] = next->logprob;
    document.greedy[place.token() + 1] = next->greedy;
    document.nll -= next->logprob;
    ++next;
  }
}

}  // namespace

int64_t ScoredDocument::concepts() const { return std::count(boundary.begin(), boundary.end(), true); }

double ScoredDocument::bits_per_byte() const {
  if (bytes == 0) return std::numeric_limits<double>::quiet_NaN();
  return nll / std::numbers::ln2 / static_cast<double>(bytes);
}

std::vector<int32_t> document_ids(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> ids{static_cast<int32_t>(tokenizer.begin_of_text())};
  const auto text_ids = tokenizer.encode(text);
  ids.insert(ids.end(), text_ids.begin(), text_ids.end());
  return ids;
}

std::vector<Batch> batches_for(const LoadedModel& model, const std::vector<std::vector<int32_t>>& documents) {
  const auto& train = model.config.train;
  return batches_of(documents, train.context, std::max(train.context, train.micro_batch_tokens));
}

std::vector<ScoredDocument> score(const LoadedModel& model, const std::vector<std::string>& texts, double threshold) {
  std::vector<std::vector<int32_t>> ids;
  for (const auto& text : texts) ids.push_back(document_ids(*model.tokenizer, text));
  auto documents = score_ids(model, ids, threshold);
  for (size_t i = 0; i < texts.size(); ++i) documents[i].bytes = static_cast<int64_t>(texts[i].size());
  return documents;
}

std::vector<ScoredDocument> score_ids(const LoadedModel& model, const std::vector<std::vector<int32_t>>& ids,
                                      double threshold) {
  const at::NoGradGuard no_gradient;
  std::vector<ScoredDocument> documents;
  for (const auto& document_tokens : ids) {
    auto& document = documents.emplace_back();
    document.ids = document_tokens;
    for (const auto id : document.ids) {
      document.pieces.push_back(model.tokenizer->piece(id));
      if (document.pieces.size() > 1) document.bytes += static_cast<int64_t>(document.pieces.back().size());
    }
    document.logprobs.resize(document.ids.size());
    document.greedy.resize(document.ids.size());
    document.boundary_prob.resize(model.has_concepts() ? document.ids.size() : 0);
    document.boundary.resize(document.boundary_prob.size());
    document.threshold = threshold;
  }
  Place place(documents);
  for (const auto& batch : batches_for(model, ids)) {
    const auto output = model.model->forward(batch, Decision::evaluation(threshold));
    fill(batch, target_scores(*model.model, batch, output.y_TD), output.cut, place);
  }
  return documents;
}

nlohmann::ordered_json to_json(const ScoredDocument& document, const Tokenizer& tokenizer) {
  nlohmann::ordered_json json;
  auto& tokens = json["tokens"] = nlohmann::ordered_json::array();
  for (const auto id : document.ids) tokens.push_back(valid_utf8(tokenizer.display(id)));
  json["ids"] = document.ids;
  json["logprobs"] = document.logprobs;
  json["logprobs"][0] = nullptr;
  json["greedy"] = document.greedy;
  json["greedy"][0] = nullptr;
  if (document.boundary.empty()) {
    json["boundary_prob"] = nullptr;
    json["boundary"] = nullptr;
  } else {
    json["boundary_prob"] = document.boundary_prob;
    json["boundary"] = document.boundary;
  }
  json["nll"] = document.nll;
  json["bytes"] = document.bytes;
  json["bits_per_byte"] = document.bits_per_byte();  // not a number becomes null
  return json;
}

}  // namespace dlcm
