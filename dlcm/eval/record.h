// One record of a JSON-lines file, whose fields are asked for by name and type; errors name file and line.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

class Record {
 public:
  Record(nlohmann::json object, std::string path, int64_t line)
      : object_(std::move(object)), path_(std::move(path)), line_(line) {}

  int64_t line() const { return line_; }
  const std::string& path() const { return path_; }
  const nlohmann::json& object() const { return object_; }
  // "line 3 of items.jsonl"
  std::string where() const;

  // Fields are "name" or "name.inner". All throw Error naming field, line and file where the field is missing or of
  // another type or size.
  const nlohmann::json& field(std::string_view name) const;
  const std::string& text(std::string_view name) const;
  // An array of strings; of exactly `count` where that is not 0.
  std::vector<std::string> texts(std::string_view name, size_t count = 0) const;
  // The place in `labels` of the string that the field holds.
  size_t label(std::string_view name, const std::vector<std::string>& labels) const;
  // A whole number from 0 to count - 1.
  size_t index(std::string_view name, size_t count) const;

  // Throws Error: what was expected of the field and what was found there.
  [[noreturn]] void refuse(std::string_view name, std::string_view expected, std::string_view found) const;

 private:
  nlohmann::json object_;
  std::string path_;
  int64_t line_;
};

// All records of a file; lines of white space are left out. Throws Error for a missing or empty file and for a line
// that is no JSON object, RuntimeFailure where the file cannot be read.
std::vector<Record> read_records(const std::string& path);

}  // namespace dlcm
