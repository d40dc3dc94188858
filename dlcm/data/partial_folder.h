// The folder in which a build works, OUTPUT.partial; it takes the name OUTPUT when all is in it.
#pragma once

#include "dlcm/io/files.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace dlcm {

class PartialFolder {
 public:
  // Takes hold of the folder, in which no other process may be at work. What an interrupted build left there stays if
  // it is of a state that can be gone on from, else it is removed. Throws Error where OUTPUT holds something, where the
  // partial folder holds files that no build makes, and where another process is at work in it.
  explicit PartialFolder(const std::string& output);
  // Removes the folder where there is no state to go on from.
  ~PartialFolder();
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;

  std::string path() const { return partial_.string(); }
  std::string path_of(const std::string& name) const { return (partial_ / name).string(); }

  // The state that an interrupted build left.
  const std::optional<nlohmann::json>& state() const { return state_; }
  // Makes `state` the one that a later build goes on from, durably.
  void save_state(nlohmann::json state);
  // Renames the folder and removes state and lock from it.
  void finish();

 private:
  void check_files() const;

  std::filesystem::path output_, partial_;
  std::optional<RunLock> lock_;
  std::optional<nlohmann::json> state_;
  bool finished_ = false;
};

}  // namespace dlcm
