#include "dlcm/infer/score.h"

#include "dlcm/util/utf8.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace dlcm {
namespace {

// Rows read side by side, at least one piece of a document: bounds the memory for keys and values.
constexpr size_t kRowsSideBySide = 8192;

// Ids [begin, end) of a document, read as if it began there.
struct Piece {
  ScoredDocument* document = nullptr;
  size_t begin = 0, end = 0;
  std::vector<TokenQuery> queries = {};  // each row that has a next id is asked for it
};

std::vector<Piece> pieces_of(std::vector<ScoredDocument>& documents, size_t context) {
  std::vector<Piece> pieces;
  for (auto& document : documents) {
    const size_t size = document.ids.size();
    for (size_t begin = 0; begin < size; begin += context) {
      auto& piece = pieces.emplace_back(&document, begin, std::min(size, begin + context));
      for (size_t t = begin; t < piece.end && t + 1 < size; ++t) {
        piece.queries.push_back({static_cast<int64_t>(t - begin), document.ids[t + 1]});
      }
    }
  }
  return pieces;
}

void read_pieces(Engine& engine, std::span<const Piece> pieces, double threshold) {
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<EngineWork> works;
  for (const auto& piece : pieces) {
    sequences.push_back(engine.new_sequence());
    works.push_back({.sequence = sequences.back().get(),
                     .ids = std::span(piece.document->ids).subspan(piece.begin, piece.end - piece.begin),
                     .threshold = threshold,
                     .queries = piece.queries});
  }
  const auto results = engine.step(works);
  for (size_t i = 0; i < pieces.size(); ++i) {
    auto& document = *pieces[i].document;
    for (size_t t = 0; t < results[i].boundary.size(); ++t) {
      document.boundary_prob[pieces[i].begin + t] = static_cast<double>(results[i].boundary_prob[t]);
      document.boundary[pieces[i].begin + t] = results[i].boundary[t] != 0;
    }
    for (size_t query = 0; query < results[i].scores.size(); ++query) {
      const size_t scored = pieces[i].begin + query + 1;
      document.logprobs[scored] = results[i].scores[query].logprob;
      document.greedy[scored] = results[i].scores[query].greedy;
      document.nll -= document.logprobs[scored];
    }
  }
}

}  // namespace

int64_t ScoredDocument::concepts() const { return std::count(boundary.begin(), boundary.end(), true); }

double ScoredDocument::bits_per_byte() const {
  if (bytes == 0) return std::numeric_limits<double>::quiet_NaN();
  return nll / std::numbers::ln2 / static_cast<double>(bytes);
}

std::vector<int32_t> document_ids(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> ids{static_cast<int32_t>(tokenizer.begin_of_text())};
  const auto text_ids = tokenizer.encode(text);
  ids.insert(ids.end(), text_ids.begin(), text_ids.end());
  return ids;
}

std::vector<ScoredDocument> score(Engine& engine, const std::vector<std::string>& texts, double threshold) {
  std::vector<std::vector<int32_t>> ids;
  for (const auto& text : texts) ids.push_back(document_ids(*engine.model().tokenizer, text));
  auto documents = score_ids(engine, ids, threshold);
  for (size_t i = 0; i < texts.size(); ++i) documents[i].bytes = static_cast<int64_t>(texts[i].size());
  return documents;
}

std::vector<ScoredDocument> score_ids(Engine& engine, const std::vector<std::vector<int32_t>>& ids, double threshold) {
  const auto& model = engine.model();
  std::vector<ScoredDocument> documents;
  for (const auto& document_tokens : ids) {
    auto& document = documents.emplace_back();
    document.ids = document_tokens;
    for (const auto id : document.ids) {
      document.pieces.push_back(model.tokenizer->piece(id));
      if (document.pieces.size() > 1) document.bytes += static_cast<int64_t>(document.pieces.back().size());
    }
    document.logprobs.resize(document.ids.size());
    document.greedy.resize(document.ids.size());
    document.boundary_prob.resize(model.has_concepts() ? document.ids.size() : 0);
    document.boundary.resize(document.boundary_prob.size());
    document.threshold = threshold;
  }
  const auto pieces = pieces_of(documents, static_cast<size_t>(model.config.train.context));
  for (size_t first = 0; first < pieces.size();) {
    size_t last = first, rows = 0;
    while (last < pieces.size() && (last == first || rows + pieces[last].end - pieces[last].begin <= kRowsSideBySide)) {
      rows += pieces[last].end - pieces[last].begin;
      ++last;
    }
    read_pieces(engine, std::span(pieces).subspan(first, last - first), threshold);
    first = last;
  }
  return documents;
}

nlohmann::ordered_json to_json(const ScoredDocument& document, const Tokenizer& tokenizer) {
  nlohmann::ordered_json json;
  auto& tokens = json["tokens"] = nlohmann::ordered_json::array();
  for (const auto id : document.ids) tokens.push_back(valid_utf8(tokenizer.display(id)));
  json["ids"] = document.ids;
  json["logprobs"] = document.logprobs;
  json["logprobs"][0] = nullptr;
  json["greedy"] = document.greedy;
  json["greedy"][0] = nullptr;
  if (document.boundary.empty()) {
    json["boundary_prob"] = nullptr;
    json["boundary"] = nullptr;
  } else {
    json["boundary_prob"] = document.boundary_prob;
    json["boundary"] = document.boundary;
  }
  json["nll"] = document.nll;
  json["bytes"] = document.bytes;
  json["bits_per_byte"] = document.bits_per_byte();  // not a number becomes null
  return json;
}

}  // namespace dlcm
