#include "dlcm/infer/evaluation.h"

#include "dlcm/ops/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace dlcm {
namespace {

std::optional<double> tokens_per(int64_t tokens, double concepts) {
  if (concepts <= 0.0) return std::nullopt;
  return static_cast<double>(tokens) / concepts;
}

// Rows of `batch` that count: all but <|endoftext|>.
at::Tensor text_rows(const Batch& batch, const Tokenizer& tokenizer) {
  return batch.token_T.ne(tokenizer.end_of_text()).nonzero().squeeze(1);
}

void add_losses(const Batch& batch, const at::Tensor& nll_T, const Tokenizer& tokenizer, Evaluation& sums) {
  const auto nll = nll_T.to(at::kDouble);
  const auto* nll_row = nll.const_data_ptr<double>();
  const auto* target = batch.target_T.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < batch.tokens(); ++t) {
    if (target[t] < 0 || target[t] == tokenizer.end_of_text()) continue;
    ++sums.targets;
    sums.bytes += static_cast<int64_t>(tokenizer.piece(target[t]).size());
    sums.nll += nll_row[t];
  }
}

void add_documents(const Batch& batch, const std::optional<Cut>& cut, const Tokenizer& tokenizer, Evaluation& sums) {
  const auto* token = batch.token_T.const_data_ptr<int64_t>();
  const auto* boundary = cut ? cut->boundary_T.const_data_ptr<bool>() : nullptr;
  for (int64_t t = 0; t < batch.tokens(); ++t) {
    if (token[t] == tokenizer.begin_of_text() || sums.documents.empty()) sums.documents.emplace_back();
    if (token[t] == tokenizer.end_of_text()) continue;
    ++sums.documents.back().tokens;
    ++sums.tokens;
    if (boundary == nullptr || !boundary[t]) continue;
    ++sums.documents.back().concepts;
    ++sums.concepts;
  }
}

void add_scores(const Cut& cut, const at::Tensor& rows, const ParserConfig& parser, Evaluation& sums) {
  const auto p = cut.p_T.index_select(0, rows).to(at::kDouble).contiguous();
  sums.concepts_half += p.ge(0.5).sum().item<int64_t>();
  sums.expected_concepts += sharpen(p, parser.temperature).sum().item<double>();
  if (parser.rule != BoundaryRule::learned) return;
  const auto* values = p.const_data_ptr<double>();
  sums.p.insert(sums.p.end(), values, values + p.size(0));
}

}  // namespace

void Evaluation::add(const Evaluation& other) {
  targets += other.targets;
  bytes += other.bytes;
  nll += other.nll;
  tokens += other.tokens;
  concepts += other.concepts;
  concepts_half += other.concepts_half;
  expected_concepts += other.expected_concepts;
  p.insert(p.end(), other.p.begin(), other.p.end());
  documents.insert(documents.end(), other.documents.begin(), other.documents.end());
}

double Evaluation::perplexity() const { return std::exp(loss()); }

double Evaluation::bits_per_byte() const { return nll / std::numbers::ln2 / static_cast<double>(bytes); }

std::optional<double> Evaluation::ratio() const { return tokens_per(tokens, static_cast<double>(concepts)); }

std::optional<double> Evaluation::ratio_half() const { return tokens_per(tokens, static_cast<double>(concepts_half)); }

std::optional<double> Evaluation::ratio_sampled() const { return tokens_per(tokens, expected_concepts); }

std::vector<double> Evaluation::boundary_quantiles() const {
  if (p.empty()) return {};
  std::vector<double> sorted(p.begin(), p.end());
  std::sort(sorted.begin(), sorted.end());
  std::vector<double> quantiles;
  for (int percent = 0; percent <= 100; ++percent) quantiles.push_back(quantile_of_sorted(sorted, percent / 100.0));
  return quantiles;
}

std::optional<std::array<double, 3>> Evaluation::ratio_spread() const {
  std::vector<double> ratios;
  for (const auto& document : documents) {
    if (document.tokens < kSpreadLeastTokens || document.concepts == 0) continue;
    ratios.push_back(static_cast<double>(document.tokens) / static_cast<double>(document.concepts));
  }
  if (ratios.empty()) return std::nullopt;
  std::sort(ratios.begin(), ratios.end());
  return std::array{quantile_of_sorted(ratios, 0.1), quantile_of_sorted(ratios, 0.5), quantile_of_sorted(ratios, 0.9)};
}

Evaluation evaluate(LanguageModel& model, const std::vector<Batch>& batches, const Tokenizer& tokenizer,
                    double threshold) {
  const at::NoGradGuard no_gradient;
  const auto head = model.head().detach();  // asks cross_entropy for no gradient
  Evaluation sums;
  for (const auto& batch : batches) {
    const auto output = model.forward(batch, Decision::evaluation(threshold));
    add_losses(batch, cross_entropy(output.y_TD, head, batch.target_T, model.logit_scale()).nll_T, tokenizer, sums);
    add_documents(batch, output.cut, tokenizer, sums);
    if (output.cut) add_scores(*output.cut, text_rows(batch, tokenizer), model.config().parser, sums);
  }
  return sums;
}

double quantile_of_sorted(const std::vector<double>& sorted, double q) {
  TORCH_CHECK(!sorted.empty() && q >= 0.0 && q <= 1.0, "quantile ", q, " of ", sorted.size(), " values");
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

}  // namespace dlcm
