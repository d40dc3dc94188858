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

// The token before each in its document; -1 where there is none.
at::Tensor predecessors(const Documents& documents) {
  const int64_t tokens = documents.rows();
  auto row_T = at::arange(-1, tokens - 1, at::kLong);
  auto* row = row_T.mutable_data_ptr<int64_t>();
  for (int64_t document = 0; document < documents.size(); ++document) {
    if (documents.offsets[document] < documents.offsets[document + 1]) row[documents.offsets[document]] = -1;
  }
  return row_T;
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

at::Tensor ParserImpl::scores(const at::Tensor& h_TD, const Documents& documents) {
  const bool learned = config_.rule == BoundaryRule::learned;
  // PAPER-GAP: the parser reads RMSNorm(H); the cosine rule of the ablation compares raw h.
  const auto scanned_TD = learned ? norm_->forward(h_TD) : h_TD;
  const auto q_TC = learned ? query_->forward(scanned_TD) : h_TD;
  const auto k_TC = learned ? key_->forward(scanned_TD) : h_TD;
  // p_t = (1 - cos(q_{t-1}, k_t)) / 2
  return boundary_scores(q_TC, predecessors(documents), k_TC);
}

at::Tensor ParserImpl::next_entropies(const Batch& batch) const {
  const at::NoGradGuard no_gradient;
  const MatrixPrecision in_float(false);  // training and evaluation must agree
  return entropy_model_->next_token_entropies(entropy_model_->forward(batch, Decision::evaluation(0.5)).y_TD);
}

at::Tensor ParserImpl::rule_boundaries(const at::Tensor& p_T, const Batch& batch, const Decision& decision) const {
  const bool training = decision.uniform_T.defined();
  const auto& position_T = batch.documents.position_T;
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
      // The token is part of the key: by its position alone all documents would open concepts at the same places.
      const auto uniform_T =
          training ? decision.uniform_T
                   : uniform_draws(static_cast<uint64_t>(seed_), DrawUse::random_rule, batch.token_T, position_T);
      return uniform_T.lt(1.0 / config_.ratio).logical_or(position_T.eq(0));
    }
    case BoundaryRule::whitespace: {
      auto boundary_T = at::zeros({batch.tokens()}, at::kBool);
      auto* boundary = boundary_T.mutable_data_ptr<bool>();
      const auto opens_T = opens_word_V.index_select(0, batch.token_T);
      const auto* opens = opens_T.const_data_ptr<uint8_t>();
      for (int64_t document = 0; document < batch.documents.size(); ++document) {
        const int64_t first = batch.documents.offsets[document];
        int64_t length = 0;
        for (int64_t t = first; t < batch.documents.offsets[document + 1]; ++t) {
          boundary[t] = t == first || (opens[t] != 0 && length >= config_.min_length);
          length = boundary[t] ? 1 : length + 1;
        }
      }
      return boundary_T;
    }
    case BoundaryRule::entropy: {
      const auto entropy_T = next_entropies(batch);
      const auto* entropy = entropy_T.const_data_ptr<double>();
      auto boundary_T = at::zeros({batch.tokens()}, at::kBool);
      auto* boundary = boundary_T.mutable_data_ptr<bool>();
      for (int64_t document = 0; document < batch.documents.size(); ++document) {
        const int64_t first = batch.documents.offsets[document], last = batch.documents.offsets[document + 1];
        for (int64_t t = first; t < last; ++t) {
          boundary[t] = t == first || entropy[t - 1] > config_.entropy.threshold;
        }
      }
      return boundary_T;
    }
  }
  TORCH_CHECK(false, "unknown boundary rule");
}

Cut ParserImpl::forward(const at::Tensor& h_TD, const Batch& batch, const Decision& decision) {
  const bool scored = config_.rule == BoundaryRule::learned || config_.rule == BoundaryRule::cosine;
  Cut cut;
  if (scored) cut.p_T = scores(h_TD, batch.documents);
  cut.boundary_T = decision.forced_T.defined() ? decision.forced_T : rule_boundaries(cut.p_T, batch, decision);
  if (config_.rule != BoundaryRule::learned) cut.p_T = cut.boundary_T.to(h_TD.scalar_type());
  return cut;
}

at::Tensor straight_through(const at::Tensor& read_TD, const Cut& cut) {
  const auto confidence_T = at::where(cut.boundary_T, cut.p_T, 1 - cut.p_T);
  return read_TD * (1 + (confidence_T - confidence_T.detach())).unsqueeze(1);
}

}  // namespace dlcm
