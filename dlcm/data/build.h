// `dlcm data build`: text to a data directory of tokenised shards.
#pragma once

#include "dlcm/data/shard_writer.h"
#include "dlcm/tokenizer/text_input.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <iosfwd>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace dlcm {

struct DataBuild {
  std::string tokenizer{};                // as load_tokenizer takes it
  std::vector<std::string> inputs{};      // as RecordInput takes them
  std::vector<std::string> validation{};  // the same; where empty, documents of `inputs` are set aside
  // Share of the documents set aside for validation, chosen by a hash of their text, whatever their order: at least one
  // where there are two or more, never all; of a single document the end. 0 sets none aside. Not read where
  // `validation` is given.
  double validation_fraction = 0.01;
  std::string output{};
  std::string domain{};  // kept in every shard's header, and what its documents are counted under
  JsonFields fields{};   // a domain field counts documents under the labels found there instead
  InputRules rules{};
  bool drop_duplicates = false;  // keep the first of all documents with equal text, validation behind training
  bool skip_bad = false;         // leave out and count what is wrong with the input instead of ending
  int64_t threads = 0;           // 0: one per core
  int64_t shard_tokens = int64_t{1} << 25;  // tokens after which the next shard begins
  int64_t commit_bytes = int64_t{1} << 25;  // text after which the work so far is made safe from a kill
};

struct DataSummary {
  SplitSummary train, valid;
  std::map<std::string, SplitSummary> train_domains, valid_domains;  // by label
  int64_t documents_not_utf8 = 0;                                    // kept byte by byte all the same
  int64_t documents_empty = 0;                                       // left out
  int64_t documents_duplicate = 0;
  std::map<InputFault, int64_t> faults;
  std::optional<int> signal{};  // the signal that stopped the build; another call goes on
};

// What OUTPUT/statistics.json holds and `--json` prints.
nlohmann::ordered_json as_json(const DataSummary& summary);

// Builds the data directory beside `output` (OUTPUT.partial); it appears whole at the end or not at all. What an
// interrupted build with equal settings left there is gone on with and becomes what an undisturbed build gives, bit by
// bit. Memory does not grow with the input. Shows its progress on stderr. Where input is left out or is no UTF-8,
// OUTPUT/problems.jsonl names each place.
// Throws Error for a tokenizer or text that cannot be read, no text, bad settings, settings or files that an
// interrupted build did not have, and an `output` that is there and not an empty folder; RuntimeFailure where a file
// cannot be read or the disk is full.
DataSummary build_data(const DataBuild& build, std::istream& standard_input);

}  // namespace dlcm
