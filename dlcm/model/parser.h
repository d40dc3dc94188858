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
#include <vector>

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
class DecodingState;

struct Cut {
  at::Tensor p_T;         // scores in [0, 1]; carries gradient under the learned rule
  at::Tensor boundary_T;  // bool
};

// What one sequence's decoding keeps of the parser.
struct ParserState {
  at::Tensor previous;                           // q_{t-1} (learned) or h_{t-1} (cosine) of the last token
  int64_t position = 0;                          // tokens seen
  int64_t segment_length = 0;                    // tokens of the open segment
  std::shared_ptr<DecodingState> entropy_model;  // of the entropy rule's model
  double next_entropy = 0.0;                     // nats, of what it predicts after the last token
};

class ParserImpl : public torch::nn::Module {
 public:
  explicit ParserImpl(const Config& config);

  // h_TD raw encoder output. `states`, one per document, continue sequences; empty where documents are whole.
  Cut forward(const at::Tensor& h_TD, const Batch& batch, const Decision& decision,
              const std::vector<ParserState*>& states = {});

  // Nats of what the entropy rule's model predicts after each token; `states` as in forward.
  at::Tensor next_entropies(const Batch& batch, const std::vector<ParserState*>& states) const;

  // The whitespace rule's table: one entry per id, 1 where a token begins with white space or punctuation.
  at::Tensor opens_word_V;

 private:
  at::Tensor scores(const at::Tensor& h_TD, const Documents& documents, const std::vector<ParserState*>& states);
  at::Tensor rule_boundaries(const at::Tensor& p_T, const Batch& batch, const Decision& decision,
                             const std::vector<ParserState*>& states) const;

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
