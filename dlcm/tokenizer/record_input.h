// The records of text files, JSON-lines files, folders of them and standard input, one at a time and in order, each
// with the place it comes from. Memory holds one record and a buffer, whatever the size of the input; a place can be
// kept and gone on from later.
//
// A record of text is a document as text_input.h defines it; a record of JSON lines is a line that holds more than
// white space. Files whose name ends in .jsonl, or .jsonl.gz or .jsonl.zst, are JSON lines, all others text. What is
// compressed with gzip or zstd is decompressed, standard input too.
#pragma once

#include "dlcm/io/byte_source.h"
#include "dlcm/io/hash.h"

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dlcm {

enum class InputFormat { by_name, text, json_lines };

struct InputRules {
  InputFormat format = InputFormat::by_name;
  int64_t longest_record_bytes = int64_t{1} << 28;
};

// What can be wrong with input. The names are what `dlcm data build` counts and writes.
enum class InputFault { not_json, wrong_field, too_long, damaged_file, unreadable_file, utf16_file };
std::string_view name_of(InputFault fault);

// Where a record ends: how far into which file.
struct InputPlace {
  int64_t file = 0;   // index into files()
  int64_t bytes = 0;  // of the decompressed file
  int64_t lines = 0;
  std::string hash{};  // of those bytes, where the file cannot be looked up again (standard input, pipes)
};

struct InputRecord {
  std::string content{};
  bool is_json = false;
  int64_t file = 0;  // index into files()
  int64_t line = 0;  // its first, from 1
  // Set where there is something wrong instead of a record; `message` is the whole sentence for the user.
  std::optional<InputFault> fault{};
  std::string message{};
};

// The files behind `paths`, in the order of reading: files as they are, folders as all files below them in the order of
// their paths, hidden ones left out, "-" as itself. Throws Error for a path that does not exist and a folder without
// files.
std::vector<std::string> list_input_files(const std::vector<std::string>& paths);

class RecordInput {
 public:
  // `paths` as list_input_files takes them, and with its errors.
  RecordInput(const std::vector<std::string>& paths, const InputRules& rules, std::istream& standard_input);

  // The next record or fault; false at the end. A fault of a whole file is followed by the next file's records. Text
  // between two separators that is empty is an empty record; the end of a file behind a separator is none.
  bool next(InputRecord& record);

  // Behind the last record or fault that next gave.
  InputPlace place() const;
  // Goes on from a place of an earlier RecordInput over the same files. Throws Error where a pipe or standard input
  // holds other bytes than before.
  void go_to(const InputPlace& place);

  const std::vector<std::string>& files() const { return files_; }
  // What messages call a file: its path, or "standard input".
  std::string name_of_file(int64_t file) const;
  // Size of all files together as they are stored (pipes and standard input count 0), and how much of it has been read;
  // where there is nothing else, also of those.
  int64_t bytes() const { return bytes_; }
  int64_t bytes_read() const;

 private:
  enum class Line { whole, too_long, end };

  void open(int64_t file);
  void close();
  bool refill();
  Line read_line();
  bool read_text(InputRecord& record);
  bool read_json(InputRecord& record);
  void set_fault(InputRecord& record, InputFault fault, std::string message) const;
  void set_too_long(InputRecord& record) const;

  InputRules rules_;
  std::istream& standard_input_;
  std::vector<std::string> files_;
  int64_t bytes_ = 0;

  int64_t file_ = 0;  // the open one, or the next to open
  std::optional<ByteSource> source_;
  bool is_json_ = false;
  int64_t place_bytes_ = 0, place_lines_ = 0;  // of the open file
  int64_t finished_bytes_ = 0;                 // stored size of the files before it
  std::unique_ptr<StreamHash> hash_;           // of an open file that cannot be looked up again
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // of what is buffered and not yet used
  std::string line_;            // the last line read, with its "\n" where it has one
};

}  // namespace dlcm
