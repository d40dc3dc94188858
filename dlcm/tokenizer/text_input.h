// Documents of text files, .jsonl files, folders of them and standard input, one at a time.
//
// A document ends at the end of its file, at the end of its JSON record, or at a line that is exactly <|endoftext|>.
// Such a line and the line end before it are no part of any document, so "a\n<|endoftext|>\nb\n" holds "a" and "b\n".
// A line may end in "\n" or "\r\n". All other bytes are kept as they are. Empty documents are skipped.
#pragma once

#include <cstdint>
#include <fstream>
#include <iosfwd>
#include <string>
#include <vector>

namespace dlcm {

class TextInput {
 public:
  // `paths`: text files, .jsonl files (one object a line, the text in its field "text"), folders (all files below them
  // in the order of their paths, hidden ones left out), or "-" for `standard_input` (text). Throws Error for a path
  // that does not exist, a folder without files, or a compressed file.
  TextInput(const std::vector<std::string>& paths, std::istream& standard_input);

  // The next document that is not empty; false at the end. Throws Error naming file and line of a bad JSON record,
  // RuntimeFailure where a file cannot be read.
  bool next(std::string& document);

  // Size of all files together (standard input counts 0), and how much of it has been read.
  int64_t bytes() const { return bytes_; }
  int64_t bytes_read() const { return bytes_read_; }

 private:
  bool open_next();
  bool read_line();
  bool next_text(std::string& document);
  bool next_record(std::string& document);

  std::vector<std::string> files_;
  std::istream& standard_input_;
  int64_t bytes_ = 0;
  int64_t bytes_read_ = 0;

  size_t next_file_ = 0;
  std::string path_;  // of the open file; empty where none is open
  std::ifstream stream_;
  std::istream* input_ = nullptr;
  int64_t line_number_ = 0;
  std::string line_;  // the last line read, with its "\n" where it has one
};

}  // namespace dlcm
