// Writes the shards of one split one after the other, in memory only a buffer of the one that is open, and can be gone
// on with from a state that was synced, after a crash too.
//
// The open shard is NAME.shard.partial: room for the header, then the ids; NAME.shard.offsets holds where its documents
// end. When it is full, the offsets are put behind the ids, the header is written and the file gets its name.
#pragma once

#include "dlcm/data/shard.h"
#include "dlcm/io/files.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace dlcm {

// What a split or a domain of it holds.
struct SplitSummary {
  int64_t documents = 0;
  int64_t tokens = 0;  // with <|bos|> and <|endoftext|> of every document
  int64_t bytes = 0;   // of the documents' text

  // Bytes of text per token of text.
  double bytes_per_token() const;
};

struct EncodedDocument {
  std::vector<int32_t> ids;  // with <|bos|> and <|endoftext|>
  int64_t text_bytes = 0;
  std::string domain{};  // what the document is counted under
};

class ShardWriter {
 public:
  // Writes FOLDER/SPLIT-NNNNN.shard; a shard is full with `shard_tokens` tokens. Of `header` it uses vocabulary,
  // tokenizer_hash and domain.
  ShardWriter(std::string folder, std::string split, const ShardHeader& header, int64_t shard_tokens);

  void add(const EncodedDocument& document);
  // Ends the last shard; a split without documents has none.
  void finish();

  const SplitSummary& summary() const { return summary_; }
  const std::map<std::string, SplitSummary>& domains() const { return domains_; }

  // Syncs what was added and gives the state that `go_on` takes.
  nlohmann::json commit();
  // Removes what only states before the last commit need. Call it when that commit's state is on the disk.
  void forget_older_states();
  // Goes on behind the last document of `state`, and removes what came behind. Throws Error where its files are not
  // there.
  void go_on(const nlohmann::json& state);

 private:
  std::string path_of(int64_t index) const;
  void open(int64_t documents);
  void finish_shard(bool last);

  std::string folder_, split_;
  ShardHeader header_;  // of the open shard: index, tokens, documents and text_bytes so far
  int64_t shard_tokens_;
  std::unique_ptr<ResumableFile> ids_, offsets_;  // where a shard is open
  SplitSummary summary_;
  std::map<std::string, SplitSummary> domains_;
  std::vector<std::string> finished_offsets_;  // files that the next commit makes needless
};

}  // namespace dlcm
