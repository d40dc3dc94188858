// The parser: a score p per token, and the decision b that a token opens a new concept (SPEC section 1, "Boundaries").
//   q_t = W_q h_t, k_t = W_k h_t, p_t = (1 - cos(q_{t-1}, k_t)) / 2, p = 1 at a document's first token.
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/model/batch.h"
#include "dlcm/nn/linear.h"
#include "dlcm/nn/norm.h"

#include <torch/nn/module.h>

#include <memory>
#include <string>

namespace dlcm {

// How scores become boundaries in one forward pass.
struct Decision {
  at::Tensor uniform_T;    // double in [0, 1): training. Undefined: evaluation.
  at::Tensor forced_T;     // bool: these boundaries, whatever the scores say. Undefined: the rule decides.
  double threshold = 0.5;  // evaluation: b_t = [p_t >= threshold]

  static Decision training(at::Tensor uniform_T) { return {.uniform_T = std::move(uniform_T), .forced_T = {}}; }
  static Decision evaluation(double threshold) { return {.uniform_T = {}, .forced_T = {}, .threshold = threshold}; }
  static Decision forced(at::Tensor boundary_T) { return {.uniform_T = {}, .forced_T = std::move(boundary_T)}; }
};

class LanguageModel;

struct Cut {
  at::Tensor p_T;         // scores in [0, 1]; carries gradient under the learned rule
  at::Tensor boundary_T;  // bool
};

// read_TD times 1 + (c - stop(c)), which is exactly 1 in value, so that p gets the gradient of what tokens read from
// concepts: c_t = p_t where b_t = 1, else 1 - p_t.
at::Tensor straight_through(const at::Tensor& read_TD, const Cut& cut);

class ParserImpl : public torch::nn::Module {
 public:
  explicit ParserImpl(const Config& config);

  // h_TD raw encoder output.
  Cut forward(const at::Tensor& h_TD, const Batch& batch, const Decision& decision);

  // Nats of what the entropy rule's model predicts after each token.
  at::Tensor next_entropies(const Batch& batch) const;

  // The whitespace rule's table: one entry per id, 1 where a token begins with white space or punctuation.
  at::Tensor opens_word_V;

 private:
  at::Tensor scores(const at::Tensor& h_TD, const Documents& documents);
  at::Tensor rule_boundaries(const at::Tensor& p_T, const Batch& batch, const Decision& decision) const;

  ParserConfig config_;
  int64_t seed_;
  // Its weights are buffers of this module: kept in checkpoints, never trained.
  std::shared_ptr<LanguageModel> entropy_model_;
  RmsNorm norm_{nullptr};
  Linear query_{nullptr}, key_{nullptr};
};
TORCH_MODULE(Parser);

// Under what name the parser keeps a parameter of the entropy rule's model.
std::string entropy_buffer(const std::string& parameter);

// p sharpened for sampling: sigmoid(temperature * logit p), in double. Exact at p = 0 and p = 1.
at::Tensor sharpen(const at::Tensor& p_T, double temperature);

}  // namespace dlcm
