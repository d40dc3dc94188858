// Documents of text files, JSON-lines files, folders of them and standard input, one at a time.
//
// A document ends at the end of its file, at the end of its JSON record, or at a line that is exactly <|endoftext|>.
// Such a line and the line end before it are no part of any document, so "a\n<|endoftext|>\nb\n" holds "a" and "b\n".
// A line may end in "\n" or "\r\n". All other bytes are kept as they are. Empty documents are skipped.
#pragma once

#include "dlcm/tokenizer/json_record.h"
#include "dlcm/tokenizer/record_input.h"

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace dlcm {

class TextInput {
 public:
  // `paths`: text files, .jsonl files (one object a line, the text in its field "text"), either also compressed (.gz,
  // .zst), folders (all files below them in the order of their paths, hidden ones left out), or "-" for
  // `standard_input` (text). Throws Error for a path that does not exist and a folder without files.
  TextInput(const std::vector<std::string>& paths, std::istream& standard_input);

  // The next document that is not empty; false at the end. Throws Error naming file and line of a bad JSON record or a
  // damaged file, RuntimeFailure where a file cannot be read.
  bool next(std::string& document);

  // As RecordInput's.
  int64_t bytes() const { return input_.bytes(); }
  int64_t bytes_read() const { return input_.bytes_read(); }

 private:
  RecordInput input_;
  InputRecord record_;
};

// The document in a record of RecordInput. A fault in its fields replaces the record's own: `record.fault` and
// `record.message` are set and the document is empty.
struct RecordDocument {
  std::string text{};
  std::string domain{};
};
RecordDocument document_of(InputRecord& record, const JsonFields& fields, const std::string& file_name);

// Throws what a fault is: RuntimeFailure for an unreadable file, else Error.
[[noreturn]] void throw_fault(const InputRecord& record);

}  // namespace dlcm
