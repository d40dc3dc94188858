// The bytes of a file or of standard input from front to back, decompressed on the way where they begin as gzip or zstd
// data do. Memory does not grow with the file.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>

namespace dlcm {

class ByteSource {
 public:
  // Throws RuntimeFailure where the file cannot be opened or read, Error where a file named .gz or .zst holds something
  // else.
  explicit ByteSource(const std::string& path);
  // Reads `stream`; `name` is what messages call it.
  ByteSource(std::istream& stream, const std::string& name);
  ~ByteSource();
  ByteSource(ByteSource&&) noexcept;

  // Fills up to `size` bytes and returns how many; 0 at the end only. Throws Error where compressed data are damaged or
  // end too early, RuntimeFailure where the system reports an error. The data before
  // the fault have been given by then.
  size_t read(char* buffer, size_t size);
  // Leaves out the next `count` bytes: by seeking in a plain file, else by reading. Throws as read does, and Error
  // where there are fewer.
  void skip(int64_t count);

  // Bytes taken from the file itself: the compressed ones.
  int64_t bytes_read() const;
  // Can be read again from any place: a regular file.
  bool is_regular() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace dlcm
