#include "dlcm/train/validation.h"

#include <cstring>

namespace dlcm {
namespace {

// The batches of rank r are [edges[r], edges[r + 1]).
std::vector<size_t> edges_of(const std::vector<Batch>& batches, const Tokenizer& tokenizer, size_t ranks) {
  std::vector<size_t> edges{0};
  for (size_t rank = 1; rank < ranks; ++rank) {
    size_t edge = std::max(edges.back(), batches.size() * rank / ranks);
    while (edge < batches.size() && batches[edge].token_T[0].item<int64_t>() != tokenizer.begin_of_text()) ++edge;
    edges.push_back(edge);
  }
  edges.push_back(batches.size());
  return edges;
}

template <typename T>
void append(std::string& bytes, const std::vector<T>& values) {
  const uint64_t count = values.size();
  bytes.append(reinterpret_cast<const char*>(&count), sizeof(count));
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

template <typename T>
std::vector<T> taken_from(std::string_view& bytes) {
  uint64_t count = 0;
  std::memcpy(&count, bytes.data(), sizeof(count));
  std::vector<T> values(count);
  std::memcpy(values.data(), bytes.data() + sizeof(count), count * sizeof(T));
  bytes.remove_prefix(sizeof(count) + count * sizeof(T));
  return values;
}

std::string to_bytes(const Evaluation& evaluation) {
  std::string bytes;
  append(bytes, std::vector<int64_t>{evaluation.targets, evaluation.bytes, evaluation.tokens, evaluation.concepts,
                                     evaluation.concepts_half});
  append(bytes, std::vector<double>{evaluation.nll, evaluation.expected_concepts});
  append(bytes, evaluation.p);
  append(bytes, evaluation.documents);
  return bytes;
}

Evaluation from_bytes(std::string_view bytes) {
  const auto counts = taken_from<int64_t>(bytes);
  const auto sums = taken_from<double>(bytes);
  auto p = taken_from<float>(bytes);
  return {.targets = counts[0],
          .bytes = counts[1],
          .nll = sums[0],
          .tokens = counts[2],
          .concepts = counts[3],
          .concepts_half = counts[4],
          .expected_concepts = sums[1],
          .p = std::move(p),
          .documents = taken_from<Evaluation::Document>(bytes)};
}

}  // namespace

Evaluation evaluate_together(LanguageModel& model, const std::vector<Batch>& batches, const Tokenizer& tokenizer,
                             double threshold, Communicator& communicator) {
  const auto edges = edges_of(batches, tokenizer, static_cast<size_t>(communicator.world_size()));
  const auto rank = static_cast<size_t>(communicator.rank());
  Evaluation own;
  for (size_t i = edges[rank]; i < edges[rank + 1];) {
    // One document's batches at a time, so that whoever watches this rank sees it move.
    size_t end = i + 1;
    while (end < edges[rank + 1] && batches[end].token_T[0].item<int64_t>() != tokenizer.begin_of_text()) ++end;
    own.add(evaluate(
        model,
        std::vector<Batch>(batches.begin() + static_cast<int64_t>(i), batches.begin() + static_cast<int64_t>(end)),
        tokenizer, threshold));
    communicator.note_progress();
    i = end;
  }
  if (communicator.world_size() == 1) return own;
  Evaluation all;
  for (const auto& part : communicator.all_gather_text(to_bytes(own))) all.add(from_bytes(part));
  return all;
}

}  // namespace dlcm
