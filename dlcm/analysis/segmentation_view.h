// Scored documents with their concepts marked: for a terminal, as plain text, as HTML.
//
// Concepts begin at tokens, and a token may begin inside a UTF-8 character. A character belongs to the concept of its
// first byte, so what is shown stays valid UTF-8; bytes that are none become U+FFFD.
#pragma once

#include "dlcm/infer/score.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

struct ConceptText {
  std::string text;  // valid UTF-8; empty for a concept of <|bos|> alone, or of bytes within another one's character
  int64_t tokens = 0;
  double boundary_prob = 0.0;  // p of the token that opened it
};

// Throws Error where the document has no boundaries, as from a llama model.
std::vector<ConceptText> concepts_of(const ScoredDocument& document);

// The document's text with "|" between its concepts.
std::string segmentation_plain(const ScoredDocument& document);
// The same with a background colour for each concept, by ECMA-48 sequences.
std::string segmentation_coloured(const ScoredDocument& document);

// "812 tokens in 203 concepts: 4.00 tokens per concept at threshold 0.531"; tokens include <|bos|>.
std::string segmentation_summary(const std::vector<ScoredDocument>& documents);

// One <p class="segmentation">: a <span> for each concept, with its score and its tokens as title. To be styled by
// segmentation_style(), in light and dark pages alike.
std::string segmentation_html(const ScoredDocument& document);
std::string_view segmentation_style();

// A whole page that needs nothing but itself.
std::string segmentation_page(const std::vector<ScoredDocument>& documents, const std::string& title);

}  // namespace dlcm
