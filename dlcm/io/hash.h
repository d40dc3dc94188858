// Checksums: XXH3 with 128 bits for the content of files, CRC32C for the records of event files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dlcm {

// XXH3-128 as 32 lower-case hexadecimal digits. It tells damaged bytes from whole ones, not forged ones.
std::string hash_bytes(std::string_view bytes);
// The same of a file's content, read in pieces. Throws Error where there is no such file and RuntimeFailure where it
// cannot be read.
std::string hash_file(const std::string& path);

// CRC-32C (Castagnoli), reflected, as in RFC 3720.
uint32_t crc32c(std::string_view bytes);

}  // namespace dlcm
