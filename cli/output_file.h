// Files that a verb writes when its work is done.
#pragma once

#include "dlcm/util/error.h"

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

namespace dlcm::cli {

// Throws Error where `path`, the value of `option`, cannot become a file: before the work rather than after it. An
// empty path is none.
inline void check_output_file(std::string_view option, const std::string& path) {
  namespace fs = std::filesystem;
  if (path.empty()) return;
  std::error_code failure;
  if (fs::is_directory(path, failure)) {
    throw Error("expected a file for {}, found the directory {}: name a file in it", option, path);
  }
  const auto parent = fs::absolute(path, failure).parent_path();
  if (!fs::is_directory(parent, failure)) {
    throw Error("expected a file in a directory that is there for {}, found {}: create {} first", option, path,
                parent.string());
  }
}

}  // namespace dlcm::cli
