#include "dlcm/data/encode.h"

#include "dlcm/util/ordered_work.h"
#include "dlcm/util/utf8.h"

#include <algorithm>
#include <thread>

namespace dlcm {
namespace {

constexpr int64_t kChunkBytes = int64_t{1} << 20;
constexpr int64_t kChunksPerThread = 3;
constexpr int64_t kRecordBytes = 256;  // that a record takes besides its text

struct Chunk {
  std::vector<InputRecord> records;
  int64_t weight = 0;
  EncodedChunk encoded;
};

EncodedRecord encode(InputRecord record, const Tokenizer& tokenizer, const JsonFields& fields,
                     const std::string& domain, const std::string& file_name) {
  EncodedRecord result;
  RecordDocument document = document_of(record, fields, file_name);
  record.content = {};
  if (!record.fault && !document.text.empty()) {
    const auto ids = tokenizer.encode(document.text);
    auto& stored = result.document.ids;
    stored.reserve(ids.size() + 2);
    stored.push_back(static_cast<int32_t>(tokenizer.begin_of_text()));
    stored.insert(stored.end(), ids.begin(), ids.end());
    stored.push_back(static_cast<int32_t>(tokenizer.end_of_text()));
    result.document.text_bytes = static_cast<int64_t>(document.text.size());
    result.document.domain = fields.domain.empty() ? domain : std::move(document.domain);
    result.text_hash = hash128(document.text);
    result.is_utf8 = is_utf8(document.text);
  }
  result.origin = std::move(record);
  return result;
}

}  // namespace

void encode_records(RecordInput& input, const Tokenizer& tokenizer, const JsonFields& fields, const std::string& domain,
                    int64_t num_threads, const std::function<void(EncodedChunk)>& take) {
  const int threads = num_threads > 0 ? static_cast<int>(num_threads)
                                      : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const auto produce = [&](Chunk& chunk) {
    for (InputRecord record; chunk.weight < kChunkBytes && input.next(record); record = {}) {
      chunk.weight += static_cast<int64_t>(record.content.size()) + kRecordBytes;
      chunk.records.push_back(std::move(record));
    }
    chunk.encoded.place = input.place();
    chunk.encoded.bytes_read = input.bytes_read();
    return !chunk.records.empty();
  };
  const auto transform = [&](Chunk& chunk) {
    chunk.encoded.records.reserve(chunk.records.size());
    for (InputRecord& record : chunk.records) {
      const auto file_name = input.name_of_file(record.file);
      chunk.encoded.records.push_back(encode(std::move(record), tokenizer, fields, domain, file_name));
    }
    chunk.records = {};
  };
  work_in_order<Chunk>(
      threads, kChunksPerThread * kChunkBytes * threads, produce, [](const Chunk& chunk) { return chunk.weight; },
      transform, [&](Chunk chunk) { take(std::move(chunk.encoded)); });
}

}  // namespace dlcm
