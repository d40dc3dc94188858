#include "dlcm/analysis/concept_statistics.h"

#include "dlcm/infer/evaluation.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace dlcm {

double PlaceLoss::standard_error() const {
  if (documents < 2) return std::numeric_limits<double>::quiet_NaN();
  // The error of a ratio of sums: residuals d - difference n about zero.
  const double slope = difference(), count = static_cast<double>(documents);
  const double squares = differences_squared - 2.0 * slope * counts_by_difference + slope * slope * counts_squared;
  return std::sqrt(std::max(0.0, squares) * count / (count - 1.0)) / static_cast<double>(tokens);
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
  size_t place = 0;
  for (size_t t = 0; t < document.ids.size(); ++t) {
    place = document.boundary[t] ? 0 : place + 1;
    if (t > 0) {
      auto& at_place = statistics.by_place[std::min(place, kConceptPlaces)];
      ++at_place.tokens;
      at_place.loss -= document.logprobs[t];
      if (baseline != nullptr) at_place.baseline_loss -= baseline->logprobs[t];
    }
    const auto& piece = document.pieces[t];
    if (static_cast<int64_t>(t) % context != 0) {
      const auto bin = static_cast<size_t>(document.boundary_prob[t] * static_cast<double>(kScoreBins));
      ++statistics.scores[std::min(bin, kScoreBins - 1)];
      if (!piece.empty()) {
        auto& count = statistics.by_text_place[static_cast<size_t>(place_in_text(text, piece))];
        ++count.tokens;
        if (document.boundary[t]) ++count.boundaries;
      }
    }
    text += piece;
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
