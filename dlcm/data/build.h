// `dlcm data build`: text to a data directory of tokenised shards.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace dlcm {

struct DataBuild {
  std::string tokenizer{};                // as load_tokenizer takes it
  std::vector<std::string> inputs{};      // as TextInput takes them
  std::vector<std::string> validation{};  // the same; where empty, documents of `inputs` are set aside
  // Share of the documents set aside for validation, chosen by a hash of their text, whatever their order: at least one
  // where there are two or more, never all; of a single document the end. 0 sets none aside. Not read where
  // `validation` is given.
  double validation_fraction = 0.01;
  std::string output{};
  std::string domain{};                     // kept in every shard's header
  int64_t shard_tokens = int64_t{1} << 25;  // tokens after which the next shard begins
};

struct SplitSummary {
  int64_t documents = 0;
  int64_t tokens = 0;  // with <|bos|> and <|endoftext|> of every document
  int64_t bytes = 0;   // of the documents' text

  // Bytes of text per token of text.
  double bytes_per_token() const;
};

struct DataSummary {
  SplitSummary train;
  SplitSummary valid;
  int64_t documents_not_utf8 = 0;  // kept byte by byte all the same
};

// Reads the documents one after the other, in memory only those of the shards being filled, and writes them beside
// `output` (OUTPUT.partial), which appears whole at the end or not at all. Shows its progress on stderr.
// Throws Error for a tokenizer or text that cannot be read, no text, a bad fraction or domain, and an `output` that is
// there and not an empty folder.
DataSummary build_data(const DataBuild& build, std::istream& standard_input);

}  // namespace dlcm
