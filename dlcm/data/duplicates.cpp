#include "dlcm/data/duplicates.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <queue>
#include <span>

namespace dlcm {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kHashBytes = sizeof(Hash128);
constexpr int64_t kPieceHashes = int64_t{1} << 15;
constexpr int64_t kPageHashes = 256;  // 4 KiB
constexpr std::string_view kPrefix = "seen-";

std::string_view bytes_of(const std::vector<Hash128>& hashes) {
  return {reinterpret_cast<const char*>(hashes.data()), hashes.size() * sizeof(Hash128)};
}

// The hashes of a file from front to back.
class HashReader {
 public:
  explicit HashReader(const InputFile& file) : file_(file), size_(file.bytes() / kHashBytes) { read_piece(); }
  bool at_end() const { return next_ == piece_.size(); }
  const Hash128& value() const { return piece_[next_]; }
  void advance() {
    if (++next_ == piece_.size()) read_piece();
  }

 private:
  void read_piece() {
    piece_.resize(static_cast<size_t>(std::min(kPieceHashes, size_ - first_)));
    file_.read(first_ * kHashBytes, piece_.data(), static_cast<int64_t>(piece_.size()) * kHashBytes);
    first_ += static_cast<int64_t>(piece_.size());
    next_ = 0;
  }

  const InputFile& file_;
  int64_t size_, first_ = 0;
  std::vector<Hash128> piece_;
  size_t next_ = 0;
};

}  // namespace

SeenTexts::SeenTexts(std::string folder, int64_t table_hashes, size_t merged_runs)
    : folder_(std::move(folder)), table_hashes_(table_hashes), merged_runs_(merged_runs) {}
SeenTexts::~SeenTexts() = default;

std::string SeenTexts::path_of(const std::string& name) const { return (fs::path(folder_) / name).string(); }
std::string SeenTexts::fresh_name(std::string_view kind) { return fmt::format("{}{}.{}", kPrefix, ++num_files_, kind); }
void SeenTexts::open_run(const std::string& name, int64_t level) {
  runs_.push_back({name, level, std::make_unique<InputFile>(path_of(name))});
}

bool SeenTexts::add(const Hash128& hash) {
  if (table_.contains(hash)) return false;
  if (std::any_of(runs_.begin(), runs_.end(), [&](const Run& run) { return holds(run, hash); })) return false;
  if (!log_) {
    log_name_ = fresh_name("log");
    log_ = std::make_unique<ResumableFile>(path_of(log_name_), 0);
  }
  table_.insert(hash);
  log_->append({reinterpret_cast<const char*>(&hash), sizeof hash});
  return true;
}

// The hash, if it is there, stands in [low, high); its neighbours' values say about where.
bool SeenTexts::holds(const Run& run, const Hash128& hash) {
  int64_t low = 0, high = run.size();
  uint64_t low_value = 0, high_value = ~uint64_t{0};  // of hashes in [low, high)
  std::vector<Hash128> page(kPageHashes);
  while (high - low > 0) {
    const double share = high_value == low_value
                             ? 0.5
                             : static_cast<double>(hash.high - low_value) / static_cast<double>(high_value - low_value);
    const auto guess = low + static_cast<int64_t>(share * static_cast<double>(high - low));
    const int64_t first = std::clamp(guess - kPageHashes / 2, low, std::max(low, high - kPageHashes));
    const int64_t count = std::min(kPageHashes, high - first);
    run.file->read(first * kHashBytes, page.data(), count * kHashBytes);
    const std::span<const Hash128> read(page.data(), static_cast<size_t>(count));
    if (hash < read.front()) {
      high = first;
      high_value = read.front().high;
    } else if (read.back() < hash) {
      low = first + count;
      low_value = read.back().high;
    } else {
      return std::binary_search(read.begin(), read.end(), hash);
    }
  }
  return false;
}

void SeenTexts::write_table() {
  std::vector<Hash128> sorted(table_.begin(), table_.end());
  table_ = {};
  std::sort(sorted.begin(), sorted.end());
  const std::string name = fresh_name("run");
  write_file_synced(path_of(name), bytes_of(sorted));
  open_run(name, 0);
  log_.reset();
  log_name_.clear();
}

bool SeenTexts::wants_merge() const {
  return runs_.size() >= merged_runs_ && runs_[runs_.size() - merged_runs_].level == runs_.back().level;
}

void SeenTexts::merge_newest_runs() {
  const auto first = runs_.end() - static_cast<std::ptrdiff_t>(merged_runs_);
  std::vector<HashReader> readers;
  for (auto run = first; run != runs_.end(); ++run) readers.emplace_back(*run->file);
  const auto is_later = [](const HashReader* left, const HashReader* right) { return right->value() < left->value(); };
  std::priority_queue<HashReader*, std::vector<HashReader*>, decltype(is_later)> next(is_later);
  for (HashReader& reader : readers) {
    if (!reader.at_end()) next.push(&reader);
  }
  const std::string name = fresh_name("run");
  OutputFile merged(path_of(name));
  std::vector<Hash128> piece;
  while (!next.empty()) {
    HashReader* const reader = next.top();
    next.pop();
    piece.push_back(reader->value());
    reader->advance();
    if (!reader->at_end()) next.push(reader);
    if (static_cast<int64_t>(piece.size()) == kPieceHashes || next.empty()) {
      merged.append(bytes_of(piece));
      piece.clear();
    }
  }
  merged.close();
  const int64_t level = first->level + 1;
  runs_.erase(first, runs_.end());
  open_run(name, level);
}

nlohmann::json SeenTexts::commit() {
  if (is_full()) write_table();
  while (wants_merge()) merge_newest_runs();
  if (log_) log_->sync();
  auto runs = nlohmann::json::array();
  for (const Run& run : runs_) runs.push_back({run.name, run.level});
  return {
      {"runs", std::move(runs)}, {"log", log_name_}, {"log_bytes", log_ ? log_->bytes() : 0}, {"files", num_files_}};
}

void SeenTexts::forget_older_states() {
  for (const auto& entry : std::vector(fs::directory_iterator(folder_), fs::directory_iterator())) {
    const std::string name = entry.path().filename().string();
    const bool needed =
        name == log_name_ || std::any_of(runs_.begin(), runs_.end(), [&](const Run& run) { return run.name == name; });
    if (name.starts_with(kPrefix) && !needed) fs::remove(entry.path());
  }
}

void SeenTexts::go_on(const nlohmann::json& state) {
  num_files_ = state.at("files");
  for (const auto& run : state.at("runs")) open_run(run.at(0), run.at(1));
  log_name_ = state.at("log");
  if (!log_name_.empty()) {
    log_ = std::make_unique<ResumableFile>(path_of(log_name_), state.at("log_bytes").get<int64_t>());
    const InputFile file(path_of(log_name_));
    for (HashReader reader(file); !reader.at_end(); reader.advance()) table_.insert(reader.value());
  }
  forget_older_states();
}

}  // namespace dlcm
