// Checksums: XXH3 with 128 bits for the content of files, CRC32C for the records of event files.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace dlcm {

// XXH3-128 as two numbers.
struct Hash128 {
  uint64_t high = 0, low = 0;
  auto operator<=>(const Hash128&) const = default;
};
Hash128 hash128(std::string_view bytes);

// XXH3-128 as 32 lower-case hexadecimal digits. It tells damaged bytes from whole ones, not forged ones.
std::string hash_bytes(std::string_view bytes);
// The same of a file's content from byte `first` on, read in pieces. Throws Error where there is no such file and
// RuntimeFailure where it cannot be read.
std::string hash_file(const std::string& path, int64_t first = 0);

// The same of bytes that come in pieces.
class StreamHash {
 public:
  StreamHash();
  ~StreamHash();
  StreamHash(const StreamHash&) = delete;
  StreamHash& operator=(const StreamHash&) = delete;

  void update(std::string_view bytes);
  // Of all bytes so far; more may follow.
  std::string digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// CRC-32C (Castagnoli), reflected, as in RFC 3720.
uint32_t crc32c(std::string_view bytes);

}  // namespace dlcm
