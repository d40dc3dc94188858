// The set of all texts seen, as their 128-bit hashes: 16 bytes a text, sorted on disk, in memory only the newest ones.
//
// New hashes go to a table in memory and to a log. With a commit at which the table is full, its hashes become a sorted
// file, a run; enough runs of one size are merged into one of the next size. A hash is looked for in the table, then in
// each run by interpolation, for hashes are spread evenly: a few pages of the file are read.
#pragma once

#include "dlcm/io/files.h"
#include "dlcm/io/hash.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

namespace dlcm {

class SeenTexts {
 public:
  // Keeps its files in `folder`; the table is full with `table_hashes` hashes, and `merged_runs` runs become one.
  explicit SeenTexts(std::string folder, int64_t table_hashes = int64_t{1} << 20, size_t merged_runs = 8);
  ~SeenTexts();

  // True where the hash is new; it is then remembered.
  bool add(const Hash128& hash);
  // The next commit should come now.
  bool is_full() const { return static_cast<int64_t>(table_.size()) >= table_hashes_; }

  // As ShardWriter's.
  nlohmann::json commit();
  void forget_older_states();
  void go_on(const nlohmann::json& state);

 private:
  struct HashOfHash {
    size_t operator()(const Hash128& hash) const { return hash.low; }
  };
  struct Run {
    std::string name;
    int64_t level = 0;  // merges behind it
    std::unique_ptr<InputFile> file;
    int64_t size() const { return file->bytes() / static_cast<int64_t>(sizeof(Hash128)); }
  };

  std::string path_of(const std::string& name) const;
  std::string fresh_name(std::string_view kind);
  void open_run(const std::string& name, int64_t level);
  static bool holds(const Run& run, const Hash128& hash);
  void write_table();
  bool wants_merge() const;
  void merge_newest_runs();

  std::string folder_;
  int64_t table_hashes_;
  size_t merged_runs_;
  std::unordered_set<Hash128, HashOfHash> table_;
  std::vector<Run> runs_;               // oldest, and so largest, first
  std::unique_ptr<ResumableFile> log_;  // the table's hashes, in the order they came
  std::string log_name_;
  int64_t num_files_ = 0;  // so far, for their names
};

}  // namespace dlcm
