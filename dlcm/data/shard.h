// One file of tokenised documents: a header of 256 bytes, the token ids, the offsets of the documents.
// docs/formats.md, "Shards", gives the layout byte by byte.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dlcm {

inline constexpr uint32_t kShardVersion = 1;
inline constexpr size_t kShardHeaderBytes = 256;
inline constexpr size_t kLongestDomainBytes = 104;

// What a shard's header says of its content.
struct ShardHeader {
  int64_t index = 0;  // of the shard within its split, from 0
  bool last = false;  // the split has no shard after this one
  int64_t documents = 0;
  int64_t tokens = 0;
  int64_t vocabulary = 0;
  int64_t text_bytes = 0;  // bytes of the documents' text
  std::string tokenizer_hash{};
  std::string payload_hash{};
  std::string domain{};

  // Ids take 2 bytes where the vocabulary allows it, else 4.
  int64_t token_bytes() const { return vocabulary <= 65536 ? 2 : 4; }
};

// The file's name in its directory: "train-00003.shard".
std::string shard_name(std::string_view split, int64_t index);

// The kShardHeaderBytes bytes of a shard's header.
std::string shard_header(const ShardHeader& header);
// Bytes of `tokens` ids in the file, with the zeros that fill them up.
int64_t stored_ids_bytes(const ShardHeader& header, int64_t tokens);

// A shard mapped into memory. Everything is verified when it is opened: sizes, both hashes, offsets, ids.
class Shard {
 public:
  // Throws Error naming the file and what is wrong with it.
  explicit Shard(const std::string& path);
  ~Shard();
  Shard(Shard&& other) noexcept;
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  const ShardHeader& header() const { return header_; }
  // First token of document `index`; `index` may be documents(), which gives tokens().
  int64_t offset(int64_t index) const { return offsets_[index]; }
  // Copies ids [first, first + count) to `destination`.
  void copy(int64_t first, int64_t count, int64_t* destination) const;
  int64_t id(int64_t index) const;

 private:
  void check(const std::string& path);
  int64_t largest_id() const;
  // visit(pointer to the ids in their own width)
  template <typename Visit>
  auto with_ids(Visit visit) const;

  const char* data_ = nullptr;
  size_t size_ = 0;
  ShardHeader header_;
  const int64_t* offsets_ = nullptr;
};

}  // namespace dlcm
