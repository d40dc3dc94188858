#include "dlcm/data/shard.h"

#include "dlcm/io/hash.h"
#include "dlcm/util/error.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace dlcm {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are little-endian and mapped as they are");

constexpr std::string_view kMagic = "DLCMSHRD";
constexpr size_t kHashBytes = 32;

// The header as it stands in the file; every field is at its natural alignment, so there are no gaps.
struct RawHeader {
  char magic[8];
  uint32_t version;
  uint32_t token_bytes;
  uint32_t index;
  uint32_t last;
  uint64_t documents;
  uint64_t tokens;
  uint64_t vocabulary;
  uint64_t text_bytes;
  char tokenizer_hash[kHashBytes];
  char payload_hash[kHashBytes];
  char domain[kLongestDomainBytes];
  char header_hash[kHashBytes];  // of everything before it
};
static_assert(sizeof(RawHeader) == kShardHeaderBytes);
constexpr size_t kHashedHeaderBytes = kShardHeaderBytes - kHashBytes;

// Bytes of the ids, filled up so that the offsets are aligned.
size_t ids_bytes(uint64_t tokens, uint64_t token_bytes) { return (tokens * token_bytes + 7) / 8 * 8; }

std::string_view as_bytes(const RawHeader& header) { return {reinterpret_cast<const char*>(&header), sizeof header}; }

std::string text_of(const char* field, size_t size) { return {field, ::strnlen(field, size)}; }

}  // namespace

std::string shard_name(std::string_view split, int64_t index) { return fmt::format("{}-{:05}.shard", split, index); }

std::string shard_header(const ShardHeader& header) {
  RawHeader raw{};
  kMagic.copy(raw.magic, sizeof raw.magic);
  raw.version = kShardVersion;
  raw.token_bytes = static_cast<uint32_t>(header.token_bytes());
  raw.index = static_cast<uint32_t>(header.index);
  raw.last = header.last ? 1 : 0;
  raw.documents = static_cast<uint64_t>(header.documents);
  raw.tokens = static_cast<uint64_t>(header.tokens);
  raw.vocabulary = static_cast<uint64_t>(header.vocabulary);
  raw.text_bytes = static_cast<uint64_t>(header.text_bytes);
  header.tokenizer_hash.copy(raw.tokenizer_hash, kHashBytes);
  header.payload_hash.copy(raw.payload_hash, kHashBytes);
  header.domain.copy(raw.domain, kLongestDomainBytes);
  hash_bytes(as_bytes(raw).substr(0, kHashedHeaderBytes)).copy(raw.header_hash, kHashBytes);
  return std::string(as_bytes(raw));
}

int64_t stored_ids_bytes(const ShardHeader& header, int64_t tokens) {
  return static_cast<int64_t>(ids_bytes(static_cast<uint64_t>(tokens), static_cast<uint64_t>(header.token_bytes())));
}

Shard::Shard(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (file < 0 || ::fstat(file, &status) != 0) {
    const int reason = errno;
    if (file >= 0) ::close(file);
    throw Error("expected a shard at {}, found that it cannot be opened ({}): build the data again", path,
                std::generic_category().message(reason));
  }
  size_ = static_cast<size_t>(status.st_size);
  if (!S_ISREG(status.st_mode) || size_ < kShardHeaderBytes) {
    ::close(file);
    throw Error("expected a shard of at least {} bytes at {}, found {}: build the data again", kShardHeaderBytes, path,
                S_ISREG(status.st_mode) ? fmt::format("{} bytes", size_) : "no regular file");
  }
  void* const mapped = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file, 0);
  const int reason = errno;
  ::close(file);
  if (mapped == MAP_FAILED) {
    throw RuntimeFailure("cannot map {} into memory: {}", path, std::generic_category().message(reason));
  }
  data_ = static_cast<const char*>(mapped);
  try {
    check(path);
  } catch (...) {
    ::munmap(mapped, size_);
    throw;
  }
}

Shard::~Shard() {
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

Shard::Shard(Shard&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(other.size_),
      header_(std::move(other.header_)),
      offsets_(other.offsets_) {}

template <typename Visit>
auto Shard::with_ids(Visit visit) const {
  const char* const ids = data_ + kShardHeaderBytes;
  if (header_.token_bytes() == 2) return visit(reinterpret_cast<const uint16_t*>(ids));
  return visit(reinterpret_cast<const uint32_t*>(ids));
}

void Shard::check(const std::string& path) {
  RawHeader raw;
  std::memcpy(&raw, data_, sizeof raw);
  if (std::string_view(raw.magic, sizeof raw.magic) != kMagic) {
    throw Error("expected a shard at {}, found another kind of file: build the data with `dlcm data build`", path);
  }
  if (raw.version != kShardVersion) {
    throw Error("expected a shard of version {} at {}, found version {}: build the data again with this dlcm",
                kShardVersion, path, raw.version);
  }
  const auto damaged = [&](std::string_view what) {
    return Error("expected a whole shard at {}, found {}: the file is damaged, copy it or build the data again", path,
                 what);
  };
  if (hash_bytes(as_bytes(raw).substr(0, kHashedHeaderBytes)) != std::string_view(raw.header_hash, kHashBytes)) {
    throw damaged("a header that does not match its hash");
  }
  header_ = {.index = raw.index,
             .last = raw.last == 1,
             .documents = static_cast<int64_t>(raw.documents),
             .tokens = static_cast<int64_t>(raw.tokens),
             .vocabulary = static_cast<int64_t>(raw.vocabulary),
             .text_bytes = static_cast<int64_t>(raw.text_bytes),
             .tokenizer_hash = text_of(raw.tokenizer_hash, kHashBytes),
             .payload_hash = text_of(raw.payload_hash, kHashBytes),
             .domain = text_of(raw.domain, kLongestDomainBytes)};

  // Each number is bounded by the file's size before it is multiplied.
  const bool sizes_fit = raw.vocabulary <= uint64_t{1} << 31 &&
                         raw.token_bytes == static_cast<uint64_t>(header_.token_bytes()) && raw.tokens <= size_ &&
                         raw.documents <= size_ &&
                         size_ == kShardHeaderBytes + ids_bytes(raw.tokens, raw.token_bytes) + (raw.documents + 1) * 8;
  if (!sizes_fit) throw damaged(fmt::format("{} bytes, which its header does not describe", size_));
  const std::string_view payload(data_ + kShardHeaderBytes, size_ - kShardHeaderBytes);
  if (hash_bytes(payload) != header_.payload_hash) throw damaged("content that does not match its hash");

  offsets_ = reinterpret_cast<const int64_t*>(data_ + kShardHeaderBytes + ids_bytes(raw.tokens, raw.token_bytes));
  if (header_.documents == 0 || offsets_[0] != 0 || offsets_[header_.documents] != header_.tokens) {
    throw damaged("document offsets that do not cover its tokens");
  }
  for (int64_t document = 0; document < header_.documents; ++document) {
    if (offsets_[document] >= offsets_[document + 1]) throw damaged("document offsets that do not ascend");
  }
  if (largest_id() >= header_.vocabulary) {
    throw damaged(fmt::format("the token id {} outside its vocabulary", largest_id()));
  }
}

int64_t Shard::largest_id() const {
  return with_ids([&](const auto* ids) -> int64_t {
    auto largest = ids[0];
    for (int64_t index = 1; index < header_.tokens; ++index) largest = std::max(largest, ids[index]);
    return largest;
  });
}

int64_t Shard::id(int64_t index) const {
  return with_ids([&](const auto* ids) -> int64_t { return ids[index]; });
}

void Shard::copy(int64_t first, int64_t count, int64_t* destination) const {
  with_ids([&](const auto* ids) { std::copy_n(ids + first, count, destination); });
}

}  // namespace dlcm
