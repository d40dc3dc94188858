#include "dlcm/model/parser.h"

#include "dlcm/model/llama.h"
#include "dlcm/nn/precision.h"
#include "dlcm/ops/boundary_scores.h"
#include "dlcm/ops/uniform.h"
#include "dlcm/util/error.h"

#include <algorithm>
#include <cmath>

namespace dlcm {
namespace {

// The rows of q and, for each token, the one before it in its sequence; -1 where there is none. Rows that sequences
// bring from earlier steps stand at the end.
struct Predecessors {
  at::Tensor q_RC;
  at::Tensor row_T;
};

Predecessors predecessors(const at::Tensor& q_TC, const Documents& documents, const std::vector<ParserState*>& states) {
  const int64_t tokens = documents.rows();
  auto row_T = at::arange(-1, tokens - 1, at::kLong);
  auto* row = row_T.mutable_data_ptr<int64_t>();
  std::vector<at::Tensor> table{q_TC};
  for (int64_t document = 0; document < documents.size(); ++document) {
    const int64_t first = documents.offsets[document];
    if (first == documents.offsets[document + 1]) continue;
    row[first] = -1;
    if (!states.empty() && states[document]->previous.defined()) {
      row[first] = tokens + static_cast<int64_t>(table.size()) - 1;
      table.push_back(states[document]->previous.unsqueeze(0));
    }
  }
  return {table.size() > 1 ? at::cat(table) : q_TC, row_T};
}

int64_t position_of_first(const std::vector<ParserState*>& states, int64_t document) {
  return states.empty() ? 0 : states[document]->position;
}

at::Tensor positions(const Documents& documents, const std::vector<ParserState*>& states) {
  auto position_T = documents.position_T.clone();
  for (int64_t document = 0; document < documents.size(); ++document) {
    const int64_t first = documents.offsets[document];
    position_T.narrow(0, first, documents.offsets[document + 1] - first).add_(position_of_first(states, document));
  }
  return position_T;
}

Config entropy_model_config(const Config& config) {
  const auto& entropy = config.parser.entropy;
  if (entropy.width == 0) {
    throw Error("the entropy rule's model {} has not been read: its shape is taken when a training begins",
                entropy.model);
  }
  Config of_model = config;
  of_model.model.kind = ModelKind::llama;
  of_model.model.token = {.width = entropy.width,
                          .layers = entropy.layers,
                          .feed_forward = entropy.feed_forward,
                          .heads = entropy.heads,
                          .kv_heads = entropy.kv_heads};
  of_model.mup.base_token_width = entropy.base_width;
  return of_model;
}

}  // namespace

at::Tensor sharpen(const at::Tensor& p_T, double temperature) {
  const auto p = p_T.to(at::kDouble);
  return at::sigmoid(temperature * (p.log() - p.neg().log1p()));
}

std::string entropy_buffer(const std::string& parameter) {
  auto name = "entropy/" + parameter;
  std::replace(name.begin(), name.end(), '.', '/');  // the name of a module's tensor holds no dot
  return name;
}

ParserImpl::ParserImpl(const Config& config) : config_(config.parser), seed_(config.train.seed) {
  if (config_.rule == BoundaryRule::learned) {
    const int64_t width = config.model.token.width;
    norm_ = register_module("norm", RmsNorm(width, config.model.norm_epsilon));
    query_ = register_module("query", Linear(width, config.scan_width()));
    key_ = register_module("key", Linear(width, config.scan_width()));
  }
  if (config_.rule == BoundaryRule::whitespace) {
    opens_word_V = register_buffer("opens_word", at::zeros({config.model.vocabulary}, at::kByte));
  }
  if (config_.rule == BoundaryRule::entropy) {
    entropy_model_ = std::make_shared<Llama>(entropy_model_config(config));
    for (auto& entry : entropy_model_->named_parameters()) {
      entry.value().set_requires_grad(false);
      register_buffer(entropy_buffer(entry.key()), entry.value());
    }
  }
}

at::Tensor ParserImpl::scores(const at::Tensor& h_TD, const Documents& documents,
                              const std::vector<ParserState*>& states) {
  const bool learned = config_.rule == BoundaryRule::learned;
  // PAPER-GAP: the parser reads RMSNorm(H); the cosine rule of the ablation compares raw h.
  const auto scanned_TD = learned ? norm_->forward(h_TD) : h_TD;
  const auto q_TC = learned ? query_->forward(scanned_TD) : h_TD;
  const auto k_TC = learned ? key_->forward(scanned_TD) : h_TD;
  const auto [q_RC, row_T] = predecessors(q_TC, documents, states);
  // p_t = (1 - cos(q_{t-1}, k_t)) / 2
  const auto p_T = boundary_scores(q_RC, row_T, k_TC);
  for (size_t document = 0; document < states.size(); ++document) {
    const int64_t last = documents.offsets[document + 1];
    if (last > documents.offsets[document]) states[document]->previous = q_TC[last - 1].detach().clone();
  }
  return p_T;
}

at::Tensor ParserImpl::next_entropies(const Batch& batch, const std::vector<ParserState*>& states) const {
  const at::NoGradGuard no_gradient;
  const MatrixPrecision in_float(false);  // training and evaluation must agree
  at::Tensor y_TD;
  if (states.empty()) {
    y_TD = entropy_model_->forward(batch, Decision::evaluation(0.5)).y_TD;
  } else {
    std::vector<DecodingState*> of_model;
    for (auto* state : states) {
      if (!state->entropy_model) state->entropy_model = entropy_model_->new_state();
      of_model.push_back(state->entropy_model.get());
    }
    y_TD = entropy_model_->step(batch, Decision::evaluation(0.5), of_model).y_TD;
  }
  return entropy_model_->next_token_entropies(y_TD);
}

at::Tensor ParserImpl::rule_boundaries(const at::Tensor& p_T, const Batch& batch, const Decision& decision,
                                       const std::vector<ParserState*>& states) const {
  const bool training = decision.uniform_T.defined();
  const auto position_T = positions(batch.documents, states);
  switch (config_.rule) {
    case BoundaryRule::learned:
      if (!training) return p_T.ge(decision.threshold);
      if (config_.decision == BoundaryDecision::threshold) return p_T.ge(0.5);
      return decision.uniform_T.lt(sharpen(p_T, config_.temperature));
    case BoundaryRule::cosine:
      return p_T.ge(config_.cosine_threshold);
    case BoundaryRule::stride: {
      // Place k opens at the first position not below k R: R need not be whole.
      const auto place = (position_T.to(at::kDouble) / config_.ratio).floor();
      return place.ne(((position_T - 1).to(at::kDouble) / config_.ratio).floor());
    }
    case BoundaryRule::random: {
      const auto uniform_T = training
                                 ? decision.uniform_T
                                 : uniform_draws(static_cast<uint64_t>(seed_), DrawUse::random_rule, 0, position_T);
      return uniform_T.lt(1.0 / config_.ratio).logical_or(position_T.eq(0));
    }
    case BoundaryRule::whitespace: {
      auto boundary_T = at::zeros({batch.tokens()}, at::kBool);
      auto* boundary = boundary_T.mutable_data_ptr<bool>();
      const auto opens_T = opens_word_V.index_select(0, batch.token_T);
      const auto* opens = opens_T.const_data_ptr<uint8_t>();
      for (int64_t document = 0; document < batch.documents.size(); ++document) {
        int64_t length = states.empty() ? 0 : states[document]->segment_length;
        int64_t position = position_of_first(states, document);
        for (int64_t t = batch.documents.offsets[document]; t < batch.documents.offsets[document + 1];
             ++t, ++position) {
          boundary[t] = position == 0 || (opens[t] != 0 && length >= config_.min_length);
          length = boundary[t] ? 1 : length + 1;
        }
      }
      return boundary_T;
    }
    case BoundaryRule::entropy: {
      const auto entropy_T = next_entropies(batch, states);
      const auto* entropy = entropy_T.const_data_ptr<double>();
      auto boundary_T = at::zeros({batch.tokens()}, at::kBool);
      auto* boundary = boundary_T.mutable_data_ptr<bool>();
      for (int64_t document = 0; document < batch.documents.size(); ++document) {
        const int64_t first = batch.documents.offsets[document], last = batch.documents.offsets[document + 1];
        for (int64_t t = first; t < last; ++t) {
          const bool is_first = t == first && position_of_first(states, document) == 0;
          const double before = t > first ? entropy[t - 1] : states.empty() ? 0.0 : states[document]->next_entropy;
          boundary[t] = is_first || before > config_.entropy.threshold;
        }
        if (!states.empty() && last > first) states[document]->next_entropy = entropy[last - 1];
      }
      return boundary_T;
    }
  }
  TORCH_CHECK(false, "unknown boundary rule");
}

Cut ParserImpl::forward(const at::Tensor& h_TD, const Batch& batch, const Decision& decision,
                        const std::vector<ParserState*>& states) {
  const bool scored = config_.rule == BoundaryRule::learned || config_.rule == BoundaryRule::cosine;
  Cut cut;
  if (scored) cut.p_T = scores(h_TD, batch.documents, states);
  cut.boundary_T = decision.forced_T.defined() ? decision.forced_T : rule_boundaries(cut.p_T, batch, decision, states);
  if (decision.forced_T.defined() && config_.rule == BoundaryRule::entropy && !states.empty()) {
    rule_boundaries(cut.p_T, batch, decision, states);  // its model reads these tokens, too
  }
  if (config_.rule != BoundaryRule::learned) cut.p_T = cut.boundary_T.to(h_TD.scalar_type());
  // A forced decision may not leave a sequence without its first place.
  const auto* boundary = cut.boundary_T.const_data_ptr<bool>();
  for (size_t document = 0; document < states.size(); ++document) {
    const int64_t first = batch.documents.offsets[document], last = batch.documents.offsets[document + 1];
    TORCH_CHECK(first == last || states[document]->position > 0 || boundary[first],
                "Parser: a sequence's first token must be a boundary");
    states[document]->position += last - first;
    for (int64_t t = first; t < last; ++t) {
      states[document]->segment_length = boundary[t] ? 1 : states[document]->segment_length + 1;
    }
  }
  return cut;
}

}  // namespace dlcm
