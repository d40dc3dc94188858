// A file's bytes in memory, read from the disk when they are first looked at.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace dlcm {

// The size is taken once; a file that another process makes shorter ends this one.
class MappedFile {
 public:
  // Throws Error where there is no such file or `path` is no regular file, RuntimeFailure where it cannot be mapped.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace dlcm
