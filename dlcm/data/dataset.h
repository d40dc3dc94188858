// Memory-mapped shards of tokenised documents, and the order in which training reads them.
// A stored document is <|bos|> text <|endoftext|>. A data directory holds train-NNNNN.shard and valid-NNNNN.shard
// files and the tokenizer (file "tokenizer", as Tokenizer::serialized gives it).
#pragma once

#include "dlcm/model/batch.h"
#include "dlcm/tokenizer/tokenizer.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dlcm {

enum class Split { train, valid };

class Dataset {
 public:
  // Maps every shard of one split. Throws Error where the directory has no shard of it, or a shard is truncated,
  // corrupted, of another version or of another tokenizer than the directory's.
  Dataset(const std::string& directory, Split split);
  ~Dataset();
  Dataset(Dataset&&) noexcept;

  int64_t documents() const;
  int64_t tokens() const;
  // Identifies the content (order, lengths and ids of all documents, tokenizer); a resume refuses another one.
  std::string hash() const;
  // Ids of document `index`, bos and end-of-text included.
  std::vector<int32_t> document(int64_t index) const;
  int64_t document_length(int64_t index) const;
  const std::shared_ptr<const Tokenizer>& tokenizer() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
  friend class TokenStream;
};

// The endless stream of tokens that training reads: epoch e is the data set's documents in a permutation keyed by
// (seed, e). Optimiser step s is tokens [s * tokens_per_step, (s + 1) * tokens_per_step) of it: a pure function of
// (seed, s), whatever the number of ranks or micro-batches. Several threads may read at once; the data set must outlive
// its streams.
class TokenStream {
 public:
  TokenStream(const Dataset& dataset, int64_t seed);
  ~TokenStream();

  // `count` tokens from stream position `first`, cut into windows of `context` at multiples of `context` from `first`
  // (which is itself one), pieces cut at document edges. The target of a window's last token is the stream's next
  // token if it is of the same document. Batch::index_T is left out.
  Batch read(int64_t first, int64_t count, int64_t context) const;

  // Where the pieces of [first, first + count) begin and end, as read() cuts them, without their tokens.
  std::vector<int64_t> offsets(int64_t first, int64_t count, int64_t context) const;

  // How many tokens of [first, first + count) have a target.
  int64_t targets(int64_t first, int64_t count) const;

  // Passes over the data set that end before stream position `first`.
  double epochs(int64_t first) const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

// Validation: documents in a fixed order that mixes the whole split, each cut into pieces of `context` tokens from its
// own start, packed into batches of at most `batch_tokens` tokens until `max_tokens` are reached. Every token but a
// document's first is a target once.
std::vector<Batch> validation_batches(const Dataset& dataset, int64_t context, int64_t batch_tokens,
                                      int64_t max_tokens);
// The same for documents given as ids.
std::vector<Batch> batches_of(const std::vector<std::vector<int32_t>>& documents, int64_t context,
                              int64_t batch_tokens);

}  // namespace dlcm
