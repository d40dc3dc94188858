#include "dlcm/data/partial_folder.h"

#include "dlcm/util/error.h"

#include <algorithm>
#include <array>

namespace dlcm {
namespace {

namespace fs = std::filesystem;

constexpr auto kStateName = "progress.json";
constexpr auto kLockName = "lock";
// Every file of a build begins with one of these.
constexpr std::array<std::string_view, 9> kOwnNames{
    "train-", "valid-", "tokenizer", "problems.jsonl", "statistics.json", "seen-", "held-", kStateName, kLockName};

}  // namespace

PartialFolder::PartialFolder(const std::string& output) : output_(fs::absolute(output).lexically_normal()) {
  if (!output_.has_filename()) output_ = output_.parent_path();
  partial_ = output_;
  partial_ += ".partial";
  if (fs::exists(output_) && !(fs::is_directory(output_) && fs::is_empty(output_))) {
    throw Error("expected no files at --output {}, found some: remove it or choose another folder", output);
  }
  if (fs::exists(partial_)) check_files();
  lock_.emplace(partial_.string(), "build");
  if (fs::exists(path_of(kStateName))) {
    state_ = nlohmann::json::parse(read_file(path_of(kStateName)), nullptr, /*allow_exceptions=*/false);
    if (!state_->is_object()) {
      throw Error("expected the state of an interrupted build in {}, found no JSON object: remove the folder {}",
                  path_of(kStateName), path());
    }
    return;
  }
  for (const auto& entry : std::vector(fs::directory_iterator(partial_), fs::directory_iterator())) {
    if (entry.path().filename() != kLockName) fs::remove_all(entry.path());
  }
}

PartialFolder::~PartialFolder() {
  std::error_code ignored;
  if (!finished_ && !state_) fs::remove_all(partial_, ignored);
}

void PartialFolder::check_files() const {
  for (const auto& entry : fs::directory_iterator(partial_)) {
    const auto name = entry.path().filename().string();
    if (std::none_of(kOwnNames.begin(), kOwnNames.end(), [&](auto own) { return name.starts_with(own); })) {
      throw Error("expected only files of an interrupted build in {}, found {}: remove it or choose another --output",
                  partial_.string(), name);
    }
  }
}

void PartialFolder::save_state(nlohmann::json state) {
  write_file_synced(path_of(kStateName), state.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  state_ = std::move(state);
}

void PartialFolder::finish() {
  rename_synced(partial_.string(), output_.string());
  finished_ = true;
  fs::remove(output_ / kStateName);
  fs::remove(output_ / kLockName);
}

}  // namespace dlcm
