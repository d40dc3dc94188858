#include "dlcm/tokenizer/record_input.h"

#include "dlcm/tokenizer/tokenizer.h"
#include "dlcm/util/error.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <istream>
#include <limits>
#include <string_view>

namespace dlcm {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr std::string_view kStandardInput = "-";

// All files below `folder` in the order of their paths; names that begin with a dot are hidden.
std::vector<std::string> files_below(const fs::path& folder) {
  std::vector<std::string> files;
  constexpr auto options = fs::directory_options::follow_directory_symlink;
  std::error_code failure;
  for (auto entry = fs::recursive_directory_iterator(folder, options, failure); entry != fs::end(entry) && !failure;
       entry.increment(failure)) {
    if (entry->path().filename().string().front() == '.') {
      entry.disable_recursion_pending();
    } else if (entry->is_regular_file()) {
      files.push_back(entry->path().string());
    }
  }
  if (failure) throw RuntimeFailure("cannot list the folder {}: {}", folder.string(), failure.message());
  if (files.empty()) throw Error("expected text files in the folder {}, found none", folder.string());
  std::sort(files.begin(), files.end());
  return files;
}

int64_t stored_bytes(const std::string& file) {
  std::error_code ignored;
  const bool regular = file != kStandardInput && fs::is_regular_file(file, ignored);
  const auto size = regular ? fs::file_size(file, ignored) : 0;
  return ignored ? 0 : static_cast<int64_t>(size);
}

bool named_json_lines(std::string_view file) {
  for (const std::string_view ending : {".gz", ".zst"}) {
    if (file.ends_with(ending)) file.remove_suffix(ending.size());
  }
  return file.ends_with(".jsonl");
}

// A byte order mark, and a zero byte as every line end has one.
bool begins_as_utf16(std::string_view bytes) {
  const bool has_mark = bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF") ||
                        bytes.starts_with(std::string_view("\0\0\xFE\xFF", 4));
  return has_mark && bytes.find('\0') != std::string_view::npos;
}

enum class Separator { none, plain, carriage_return };

Separator separator(std::string_view line) {
  if (!line.starts_with(kEndOfText)) return Separator::none;
  line.remove_prefix(kEndOfText.size());
  if (line.empty() || line == "\n") return Separator::plain;
  return line == "\r\n" ? Separator::carriage_return : Separator::none;
}

}  // namespace

std::string_view name_of(InputFault fault) {
  constexpr std::array<std::string_view, 6> kNames{"not_json",     "wrong_field",     "too_long",
                                                   "damaged_file", "unreadable_file", "utf16_file"};
  return kNames[static_cast<size_t>(fault)];
}

std::vector<std::string> list_input_files(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const auto& path : paths) {
    if (path == kStandardInput) {
      files.push_back(path);
      continue;
    }
    std::error_code ignored;
    const auto status = fs::status(path, ignored);
    if (!fs::exists(status)) throw Error("expected a file or folder at {}, found none: check the path", path);
    const auto found = fs::is_directory(status) ? files_below(path) : std::vector{path};
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

RecordInput::RecordInput(const std::vector<std::string>& paths, const InputRules& rules, std::istream& standard_input)
    : rules_(rules), standard_input_(standard_input), files_(list_input_files(paths)), buffer_(kBufferBytes) {
  for (const auto& file : files_) bytes_ += stored_bytes(file);
}

bool RecordInput::next(InputRecord& record) {
  while (file_ < static_cast<int64_t>(files_.size())) {
    record.content.clear();
    record.fault.reset();
    record.file = file_;
    record.line = place_lines_ + 1;
    try {
      if (!source_) open(file_);
      record.is_json = is_json_;
      if (place_bytes_ == 0 && refill() && begins_as_utf16({buffer_.data() + begin_, end_ - begin_})) {
        set_fault(
            record, InputFault::utf16_file,
            fmt::format("expected UTF-8 in {}, found UTF-16 or UTF-32: convert it with iconv", name_of_file(file_)));
        close();
        return true;
      }
      if (is_json_ ? read_json(record) : read_text(record)) return true;
      close();
    } catch (const Error& error) {
      const bool unreadable = error.exit_status() == 1;
      record.line = place_lines_ + 1;
      set_fault(record, unreadable ? InputFault::unreadable_file : InputFault::damaged_file, error.what());
      close();
      return true;
    }
  }
  return false;
}

InputPlace RecordInput::place() const {
  return {file_, place_bytes_, place_lines_, hash_ && place_bytes_ > 0 ? hash_->digest() : ""};
}

void RecordInput::go_to(const InputPlace& place) {
  file_ = place.file;
  for (int64_t file = 0; file < place.file; ++file) {
    finished_bytes_ += stored_bytes(files_[static_cast<size_t>(file)]);
    // What earlier files took of standard input has to be taken again.
    if (files_[static_cast<size_t>(file)] == kStandardInput)
      standard_input_.ignore(std::numeric_limits<std::streamsize>::max());
  }
  if (place.bytes == 0) return;
  open(place.file);
  if (hash_) {
    for (int64_t left = place.bytes; left > 0;) {
      if (begin_ == end_ && !refill()) break;
      const auto count = std::min(left, static_cast<int64_t>(end_ - begin_));
      hash_->update({buffer_.data() + begin_, static_cast<size_t>(count)});
      begin_ += static_cast<size_t>(count);
      left -= count;
    }
    if (hash_->digest() != place.hash) {
      throw Error("expected the bytes in {} that were read before, found others: give the same input again",
                  name_of_file(file_));
    }
  } else {
    source_->skip(place.bytes);
  }
  place_bytes_ = place.bytes;
  place_lines_ = place.lines;
}

std::string RecordInput::name_of_file(int64_t file) const {
  const auto& path = files_[static_cast<size_t>(file)];
  return path == kStandardInput ? "standard input" : path;
}

int64_t RecordInput::bytes_read() const {
  const bool counts = source_ && (source_->is_regular() || bytes_ == 0);
  return finished_bytes_ + (counts ? source_->bytes_read() : 0);
}

void RecordInput::open(int64_t file) {
  const auto& path = files_[static_cast<size_t>(file)];
  begin_ = end_ = 0;
  is_json_ = rules_.format == InputFormat::by_name ? named_json_lines(path) : rules_.format == InputFormat::json_lines;
  if (path == kStandardInput) {
    source_.emplace(standard_input_, name_of_file(file));
  } else {
    source_.emplace(path);
  }
  if (!source_->is_regular()) hash_ = std::make_unique<StreamHash>();
}

// The open file is done with.
void RecordInput::close() {
  finished_bytes_ += stored_bytes(files_[static_cast<size_t>(file_)]);
  source_.reset();
  hash_.reset();
  ++file_;
  place_bytes_ = place_lines_ = 0;
}

// Puts bytes into the empty buffer; false at the end of the file.
bool RecordInput::refill() {
  if (begin_ == end_) {
    begin_ = 0;
    end_ = source_->read(buffer_.data(), buffer_.size());
  }
  return begin_ != end_;
}

RecordInput::Line RecordInput::read_line() {
  line_.clear();
  bool any = false, fits = true;
  for (bool ended = false; !ended && refill();) {
    any = true;
    const char* const first = buffer_.data() + begin_;
    const void* const found = std::memchr(first, '\n', end_ - begin_);
    ended = found != nullptr;
    const size_t count = ended ? static_cast<size_t>(static_cast<const char*>(found) - first) + 1 : end_ - begin_;
    fits = fits && static_cast<int64_t>(line_.size() + count) <= rules_.longest_record_bytes;
    if (fits) line_.append(first, count);
    if (hash_) hash_->update({first, count});
    begin_ += count;
    place_bytes_ += static_cast<int64_t>(count);
  }
  if (any) ++place_lines_;
  return !any ? Line::end : fits ? Line::whole : Line::too_long;
}

// Reads up to the next separator; false where the file ends without a byte.
bool RecordInput::read_text(InputRecord& record) {
  bool any = false, fits = true;
  while (true) {
    const Line line = read_line();
    if (line == Line::end) break;
    const Separator kind = line == Line::whole ? separator(line_) : Separator::none;
    if (kind != Separator::none) {
      if (record.content.ends_with('\n')) record.content.pop_back();
      if (kind == Separator::carriage_return && record.content.ends_with('\r')) record.content.pop_back();
      any = true;
      break;
    }
    any = true;
    fits = fits && line == Line::whole &&
           static_cast<int64_t>(record.content.size() + line_.size()) <= rules_.longest_record_bytes;
    if (fits) record.content += line_;
  }
  if (!fits) set_too_long(record);
  return any;
}

bool RecordInput::read_json(InputRecord& record) {
  while (true) {
    record.line = place_lines_ + 1;
    const Line line = read_line();
    if (line == Line::end) return false;
    if (line == Line::too_long) {
      set_too_long(record);
      return true;
    }
    if (line_.find_first_not_of(" \t\r\n") == std::string::npos) continue;
    std::swap(record.content, line_);
    return true;
  }
}

void RecordInput::set_fault(InputRecord& record, InputFault fault, std::string message) const {
  record.content.clear();
  record.fault = fault;
  record.message = std::move(message);
}

void RecordInput::set_too_long(InputRecord& record) const {
  set_fault(
      record, InputFault::too_long,
      fmt::format("expected documents of at most {} bytes, found a longer one that begins in line {} of {}: divide "
                  "it, or allow it with --longest-document",
                  rules_.longest_record_bytes, record.line, name_of_file(record.file)));
}

}  // namespace dlcm
