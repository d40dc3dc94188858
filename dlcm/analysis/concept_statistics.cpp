#include "dlcm/analysis/concept_statistics.h"

#include "dlcm/infer/evaluation.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numbers>

namespace dlcm {
namespace {

constexpr int64_t kLeastDocuments = 3;  // for an interval

// Student's t of 1, 2 ... degrees of freedom: so many standard errors to either side hold 95 %.
constexpr std::array<double, 30> kStudent{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
                                          2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
                                          2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042};
double student(int64_t degrees_of_freedom) {
  if (degrees_of_freedom <= std::ssize(kStudent)) return kStudent[static_cast<size_t>(degrees_of_freedom - 1)];
  return 1.96 + 2.4 / static_cast<double>(degrees_of_freedom);
}

}  // namespace

double PlaceLoss::standard_error() const {
  if (documents < 2) return std::numeric_limits<double>::quiet_NaN();
  // The error of a ratio of sums: residuals d - difference n about zero.
  const double slope = difference(), count = static_cast<double>(documents);
  const double squares = differences_squared - 2.0 * slope * counts_by_difference + slope * slope * counts_squared;
  return std::sqrt(std::max(0.0, squares) * count / (count - 1.0)) / static_cast<double>(tokens);
}

double PlaceLoss::half_width() const {
  if (documents < kLeastDocuments) return std::numeric_limits<double>::quiet_NaN();
  return student(documents - 1) * standard_error();
}

void PlaceLoss::add(const PlaceLoss& other) {
  tokens += other.tokens;
  loss += other.loss;
  baseline_loss += other.baseline_loss;
  counts_squared += other.counts_squared;
  counts_by_difference += other.counts_by_difference;
  differences_squared += other.differences_squared;
  documents += other.documents;
}

double ConceptStatistics::bits_per_byte() const { return nll / std::numbers::ln2 / static_cast<double>(bytes); }

double ConceptStatistics::ratio_quantile(double q) const {
  if (document_ratios.empty()) return std::numeric_limits<double>::quiet_NaN();
  auto sorted = document_ratios;
  std::sort(sorted.begin(), sorted.end());
  return quantile_of_sorted(sorted, q);
}

PlaceCount ConceptStatistics::free_tokens() const {
  PlaceCount all;
  for (const auto& place : by_text_place) {
    all.tokens += place.tokens;
    all.boundaries += place.boundaries;
  }
  return all;
}

void ConceptStatistics::add(const ConceptStatistics& other) {
  tokens += other.tokens;
  concepts += other.concepts;
  bytes += other.bytes;
  nll += other.nll;
  document_ratios.insert(document_ratios.end(), other.document_ratios.begin(), other.document_ratios.end());
  for (size_t i = 0; i < by_place.size(); ++i) by_place[i].add(other.by_place[i]);
  for (size_t i = 0; i < scores.size(); ++i) scores[i] += other.scores[i];
  for (size_t i = 0; i < by_text_place.size(); ++i) {
    by_text_place[i].tokens += other.by_text_place[i].tokens;
    by_text_place[i].boundaries += other.by_text_place[i].boundaries;
  }
}

ConceptStatistics statistics_of(const ScoredDocument& document, const ScoredDocument* baseline, int64_t context) {
  TORCH_CHECK(!document.boundary.empty() && (baseline == nullptr || baseline->ids == document.ids),
              "statistics_of: a document with concepts, and the baseline's of the same ids");
  ConceptStatistics statistics;
  statistics.tokens = document.tokens();
  statistics.concepts = document.concepts();
  statistics.bytes = document.bytes;
  statistics.nll = document.nll;
  if (statistics.tokens >= kSpreadLeastTokens) statistics.document_ratios.push_back(statistics.ratio());
  std::string text;
  for (const auto& piece : document.pieces) text += piece;
  size_t begin = 0;     // of the token in the text
  bool chosen = false;  // the concept was opened by a boundary, not by a rule
  size_t place = 0;     // in a chosen concept
  for (size_t t = 0; t < document.ids.size(); begin += document.pieces[t].size(), ++t) {
    if (static_cast<int64_t>(t) % context == 0) {
      chosen = false;
      continue;
    }
    if (document.boundary[t]) chosen = true;
    place = document.boundary[t] ? 0 : place + 1;
    if (chosen) {
      auto& at_place = statistics.by_place[std::min(place, kConceptPlaces)];
      ++at_place.tokens;
      at_place.loss -= document.logprobs[t];
      if (baseline != nullptr) at_place.baseline_loss -= baseline->logprobs[t];
    }
    const auto bin = static_cast<size_t>(document.boundary_prob[t] * static_cast<double>(kScoreBins));
    ++statistics.scores[std::min(bin, kScoreBins - 1)];
    if (document.pieces[t].empty()) continue;
    auto& count = statistics.by_text_place[static_cast<size_t>(place_in_text(text, begin))];
    ++count.tokens;
    if (document.boundary[t]) ++count.boundaries;
  }
  for (auto& at_place : statistics.by_place) {
    if (at_place.tokens == 0) continue;
    const auto count = static_cast<double>(at_place.tokens);
    const double difference = at_place.loss - at_place.baseline_loss;
    at_place.documents = 1;
    at_place.counts_squared = count * count;
    at_place.counts_by_difference = count * difference;
    at_place.differences_squared = difference * difference;
  }
  return statistics;
}

void Agreement::add(const ScoredDocument& one, const ScoredDocument& other, int64_t context) {
  TORCH_CHECK(one.ids == other.ids, "Agreement: the same ids");
  for (size_t t = 0; t < one.ids.size(); ++t) {
    if (static_cast<int64_t>(t) % context == 0) continue;
    ++tokens;
    first += one.boundary[t] ? 1 : 0;
    second += other.boundary[t] ? 1 : 0;
    both += one.boundary[t] && other.boundary[t] ? 1 : 0;
  }
}

double Agreement::shared() const { return static_cast<double>(both) / static_cast<double>(std::min(first, second)); }

double Agreement::chance() const { return static_cast<double>(std::max(first, second)) / static_cast<double>(tokens); }

double Agreement::kappa() const {
  const auto n = static_cast<double>(tokens);
  const double a = static_cast<double>(first) / n, b = static_cast<double>(second) / n;
  const double observed = (n - static_cast<double>(first + second - 2 * both)) / n;
  const double expected = a * b + (1.0 - a) * (1.0 - b);
  return (observed - expected) / (1.0 - expected);
}

}  // namespace dlcm
