// What a model's concepts are like on texts of several kinds: how long, where they begin, how well their tokens are
// predicted place by place. Counts add up document by document; nothing of a text is kept.
#pragma once

#include "dlcm/analysis/text_place.h"
#include "dlcm/infer/score.h"

#include <array>
#include <cstdint>
#include <vector>

namespace dlcm {

// Places within a concept that are counted one by one; what lies beyond is counted together.
inline constexpr size_t kConceptPlaces = 21;
inline constexpr size_t kScoreBins = 50;  // of p, equal parts of [0, 1]

// Losses of the tokens at one place within their concepts, the opening token being place 0.
struct PlaceLoss {
  int64_t tokens = 0;
  double loss = 0.0;           // sums of nats
  double baseline_loss = 0.0;  // of the same tokens
  // Over documents with n tokens here whose losses differ by d in sum: sums of n n, n d and d d.
  double counts_squared = 0.0, counts_by_difference = 0.0, differences_squared = 0.0;
  int64_t documents = 0;

  double difference() const { return (loss - baseline_loss) / static_cast<double>(tokens); }
  // Standard error of difference(), documents being what varies; not a number for fewer than two.
  double standard_error() const;
  // Half of the 95 % interval about difference(), by Student's t; not a number for fewer than three documents.
  double half_width() const;
  void add(const PlaceLoss& other);
};

struct PlaceCount {
  int64_t tokens = 0;
  int64_t boundaries = 0;
};

struct ConceptStatistics {
  // With <|bos|> and the forced first tokens of a long document's pieces, as Evaluation counts.
  int64_t tokens = 0, concepts = 0;
  int64_t bytes = 0;
  double nll = 0.0;
  std::vector<double> document_ratios;  // of documents of at least kSpreadLeastTokens tokens
  // Of the concepts that the parser opened by its own choice, not by the rule for the first token of a document or of
  // one of its pieces; the last: all places beyond.
  std::array<PlaceLoss, kConceptPlaces + 1> by_place;
  // Of tokens that no rule forces: not the first of a document or of one of its pieces.
  std::array<int64_t, kScoreBins> scores{};
  std::array<PlaceCount, kTextPlaces.size()> by_text_place{};

  double ratio() const { return static_cast<double>(tokens) / static_cast<double>(concepts); }
  double bits_per_byte() const;
  // The quantile `q` of document_ratios; not a number where there are none.
  double ratio_quantile(double q) const;
  // All tokens of by_text_place.
  PlaceCount free_tokens() const;
  void add(const ConceptStatistics& other);
};

// Of one document as the model scored it; `baseline` scored the same ids, or is null. `context`: tokens of a piece.
ConceptStatistics statistics_of(const ScoredDocument& document, const ScoredDocument* baseline, int64_t context);

// How two models cut the same tokens, forced ones left out.
struct Agreement {
  int64_t tokens = 0;
  int64_t first = 0, second = 0, both = 0;  // boundaries

  void add(const ScoredDocument& one, const ScoredDocument& other, int64_t context);
  // Share of the sparser's boundaries that the denser has, and what chance would give: the denser's rate.
  double shared() const;
  double chance() const;
  // Cohen's kappa: 0 is chance, 1 is the same.
  double kappa() const;
};

}  // namespace dlcm
