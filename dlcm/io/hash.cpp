#include "dlcm/io/hash.h"

#include "dlcm/io/files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace dlcm {
namespace {

constexpr int64_t kPieceBytes = int64_t{1} << 20;

std::string hexadecimal(XXH128_hash_t hash) { return fmt::format("{:016x}{:016x}", hash.high64, hash.low64); }

constexpr std::array<uint32_t, 256> make_crc32c_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) {
      value = (value >> 1) ^ ((value & 1) != 0 ? 0x82f63b78u : 0u);
    }
    table[byte] = value;
  }
  return table;
}

}  // namespace

Hash128 hash128(std::string_view bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.high64, hash.low64};
}

std::string hash_bytes(std::string_view bytes) { return hexadecimal(XXH3_128bits(bytes.data(), bytes.size())); }

struct StreamHash::State {
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> value{XXH3_createState(), &XXH3_freeState};
};

StreamHash::StreamHash() : state_(std::make_unique<State>()) { XXH3_128bits_reset(state_->value.get()); }
StreamHash::~StreamHash() = default;

void StreamHash::update(std::string_view bytes) {
  XXH3_128bits_update(state_->value.get(), bytes.data(), bytes.size());
}

std::string StreamHash::digest() const { return hexadecimal(XXH3_128bits_digest(state_->value.get())); }

std::string hash_file(const std::string& path, int64_t first) {
  const InputFile file(path);
  StreamHash hash;
  std::vector<char> piece(static_cast<size_t>(std::clamp<int64_t>(file.bytes() - first, 0, kPieceBytes)));
  for (int64_t offset = first; offset < file.bytes(); offset += kPieceBytes) {
    const int64_t length = std::min(file.bytes() - offset, kPieceBytes);
    file.read(offset, piece.data(), length);
    hash.update({piece.data(), static_cast<size_t>(length)});
  }
  return hash.digest();
}

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = make_crc32c_table();
  uint32_t value = ~uint32_t{0};
  for (const char byte : bytes) {
    value = kTable[(value ^ static_cast<uint8_t>(byte)) & 0xff] ^ (value >> 8);
  }
  return ~value;
}

}  // namespace dlcm
