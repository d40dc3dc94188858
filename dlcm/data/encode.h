// The records of an input, encoded by all cores and handed on in their order.
#pragma once

#include "dlcm/data/shard_writer.h"
#include "dlcm/io/hash.h"
#include "dlcm/tokenizer/text_input.h"
#include "dlcm/tokenizer/tokenizer.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace dlcm {

struct EncodedRecord {
  InputRecord origin;  // without its content; its fault is set where there is no document
  EncodedDocument document;
  Hash128 text_hash;  // of the document's text
  bool is_utf8 = true;
};

// Neighbouring records, and the input behind them.
struct EncodedChunk {
  std::vector<EncodedRecord> records;
  InputPlace place;
  int64_t bytes_read = 0;
};

// Encodes what is left of `input` on `num_threads` threads (0: one per core) and gives it to `take`, chunk by chunk, on
// the calling thread. Memory holds a few MiB of text a thread, or one longer document. A document's domain is that of
// its field, or `domain` where no field is read.
void encode_records(RecordInput& input, const Tokenizer& tokenizer, const JsonFields& fields, const std::string& domain,
                    int64_t num_threads, const std::function<void(EncodedChunk)>& take);

}  // namespace dlcm
