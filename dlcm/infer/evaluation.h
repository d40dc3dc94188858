// How well a model predicts text and where it cuts it: the sums that validation and `dlcm eval` report (SPEC section
// 10). Every text token counts; <|bos|> is only given, and rows and targets of <|endoftext|> are left out of
// everything.
#pragma once

#include "dlcm/model/batch.h"
#include "dlcm/model/language_model.h"
#include "dlcm/tokenizer/tokenizer.h"

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace dlcm {

// Shorter documents are left out of the spread: their ratio is mostly rounding.
inline constexpr int64_t kSpreadLeastTokens = 64;

struct Evaluation {
  struct Document {
    int64_t tokens = 0;    // with <|bos|>
    int64_t concepts = 0;  // at the threshold used
  };

  int64_t targets = 0;  // text tokens predicted
  int64_t bytes = 0;    // bytes of those tokens
  double nll = 0.0;     // their negative log-likelihood in nats

  int64_t tokens = 0;  // rows read: text tokens and <|bos|>
  // Concepts begun, also by the forced first token of every piece of a long document, as in training.
  int64_t concepts = 0;
  int64_t concepts_half = 0;       // at p >= 0.5; `concepts` where the rule knows no threshold
  double expected_concepts = 0.0;  // sum of sharpened p: what drawing the boundaries gives on average
  std::vector<float> p;            // of every row; empty unless the parser is learned
  std::vector<Document> documents;

  // A data set in parts: the sums of both.
  void add(const Evaluation& other);

  double loss() const { return nll / static_cast<double>(targets); }  // nats per text token
  double perplexity() const;
  double bits_per_byte() const;
  // Tokens per concept; nothing for a model without concepts.
  std::optional<double> ratio() const;          // at the threshold used
  std::optional<double> ratio_half() const;     // at 0.5
  std::optional<double> ratio_sampled() const;  // as training draws
  // p at quantiles 0.00, 0.01 ... 1.00; empty unless the parser is learned.
  std::vector<double> boundary_quantiles() const;
  // 10 %, 50 % and 90 % quantiles of the ratio of documents of at least kSpreadLeastTokens tokens; nothing without any.
  std::optional<std::array<double, 3>> ratio_spread() const;
};

// Reads every batch once with LibTorch's full pass, boundaries at `threshold`; no gradients: validation inside
// training. Batches as validation_batches and batches_of cut them: a document is what follows a <|bos|>, over pieces
// and batches.
Evaluation evaluate(LanguageModel& model, const std::vector<Batch>& batches, const Tokenizer& tokenizer,
                    double threshold);

// The value at quantile `q` in [0, 1] of `sorted` (rising, not empty), interpolated linearly between its entries.
double quantile_of_sorted(const std::vector<double>& sorted, double q);

}  // namespace dlcm
