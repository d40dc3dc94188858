#include "dlcm/tokenizer/text_input.h"

#include "dlcm/tokenizer/tokenizer.h"
#include "dlcm/util/error.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <istream>
#include <nlohmann/json.hpp>

namespace dlcm {
namespace {

namespace fs = std::filesystem;

void refuse_compressed(const fs::path& path) {
  constexpr std::array kCompressed{".zst", ".gz", ".xz", ".bz2", ".zip"};
  if (std::find(kCompressed.begin(), kCompressed.end(), path.extension()) != kCompressed.end()) {
    throw Error(
        "expected text or .jsonl, found the compressed file {}: decompress it first, or pipe it in with "
        "--input -",
        path.string());
  }
}

// All files below `folder` in the order of their paths; names that begin with a dot are hidden.
std::vector<std::string> files_below(const fs::path& folder) {
  std::vector<std::string> files;
  constexpr auto options = fs::directory_options::follow_directory_symlink;
  for (auto entry = fs::recursive_directory_iterator(folder, options); entry != fs::end(entry); ++entry) {
    if (entry->path().filename().string().front() == '.') {
      entry.disable_recursion_pending();
    } else if (entry->is_regular_file()) {
      files.push_back(entry->path().string());
    }
  }
  if (files.empty()) throw Error("expected text files in the folder {}, found none", folder.string());
  std::sort(files.begin(), files.end());
  return files;
}

enum class Separator { none, plain, carriage_return };

Separator separator(std::string_view line) {
  if (!line.starts_with(kEndOfText)) return Separator::none;
  line.remove_prefix(kEndOfText.size());
  if (line.empty() || line == "\n") return Separator::plain;
  return line == "\r\n" ? Separator::carriage_return : Separator::none;
}

}  // namespace

TextInput::TextInput(const std::vector<std::string>& paths, std::istream& standard_input)
    : standard_input_(standard_input) {
  for (const auto& path : paths) {
    if (path == "-") {
      files_.push_back(path);
      continue;
    }
    std::error_code error;
    const auto status = fs::status(path, error);
    if (!fs::exists(status)) throw Error("expected a file or folder at {}, found none: check the path", path);
    const auto found = fs::is_directory(status) ? files_below(path) : std::vector{path};
    for (const auto& file : found) {
      refuse_compressed(file);
      const auto size = fs::file_size(file, error);
      if (!error) bytes_ += static_cast<int64_t>(size);  // a pipe has none
      files_.push_back(file);
    }
  }
}

bool TextInput::next(std::string& document) {
  while (input_ || open_next()) {
    document.clear();
    const bool more = path_.ends_with(".jsonl") ? next_record(document) : next_text(document);
    if (!more) {
      if (input_->bad()) throw RuntimeFailure("cannot read {}: the system reports an error", path_);
      input_ = nullptr;
      stream_.close();
    }
    if (!document.empty()) return true;
  }
  return false;
}

bool TextInput::open_next() {
  if (next_file_ == files_.size()) return false;
  path_ = files_[next_file_++];
  line_number_ = 0;
  if (path_ == "-") {
    path_ = "standard input";
    input_ = &standard_input_;
    return true;
  }
  stream_ = std::ifstream(path_, std::ios::binary);
  if (!stream_) throw RuntimeFailure("cannot open {}: check its permissions", path_);
  input_ = &stream_;
  return true;
}

bool TextInput::read_line() {
  if (!std::getline(*input_, line_)) return false;
  if (!input_->eof()) line_ += '\n';
  ++line_number_;
  if (input_ == &stream_) bytes_read_ += static_cast<int64_t>(line_.size());
  return true;
}

// Reads up to the next separator; false at the end of the file.
bool TextInput::next_text(std::string& document) {
  while (read_line()) {
    const Separator kind = separator(line_);
    if (kind == Separator::none) {
      document += line_;
      continue;
    }
    if (document.ends_with('\n')) document.pop_back();
    if (kind == Separator::carriage_return && document.ends_with('\r')) document.pop_back();
    return true;
  }
  return false;
}

bool TextInput::next_record(std::string& document) {
  if (!read_line()) return false;
  if (line_.find_first_not_of(" \t\r\n") == std::string::npos) return true;
  auto record = nlohmann::json::parse(line_, nullptr, /*allow_exceptions=*/false);
  if (!record.is_object() || !record.contains("text") || !record["text"].is_string()) {
    throw Error("expected a JSON object with a string \"text\" in line {} of {}, found {}: correct or remove the line",
                line_number_, path_,
                record.is_discarded() ? "no valid JSON" : (record.is_object() ? "no such field" : record.type_name()));
  }
  document = std::move(record["text"].get_ref<std::string&>());
  return true;
}

}  // namespace dlcm
