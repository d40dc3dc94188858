#include "dlcm/data/shard_writer.h"

#include "dlcm/io/hash.h"
#include "dlcm/util/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

namespace dlcm {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPieceBytes = size_t{1} << 20;

template <typename Id>
void append_ids(const std::vector<int32_t>& ids, ResumableFile& file) {
  const std::vector<Id> narrow(ids.begin(), ids.end());
  file.append({reinterpret_cast<const char*>(narrow.data()), narrow.size() * sizeof(Id)});
}

std::string_view bytes_of(const int64_t& number) { return {reinterpret_cast<const char*>(&number), sizeof number}; }

nlohmann::json as_json(const SplitSummary& summary) { return {summary.documents, summary.tokens, summary.bytes}; }

SplitSummary summary_from(const nlohmann::json& state) {
  return {.documents = state.at(0), .tokens = state.at(1), .bytes = state.at(2)};
}

void count(const EncodedDocument& document, SplitSummary& summary) {
  summary.documents += 1;
  summary.tokens += static_cast<int64_t>(document.ids.size());
  summary.bytes += document.text_bytes;
}

}  // namespace

double SplitSummary::bytes_per_token() const {
  const int64_t text_tokens = tokens - 2 * documents;
  return text_tokens == 0 ? 0.0 : static_cast<double>(bytes) / static_cast<double>(text_tokens);
}

ShardWriter::ShardWriter(std::string folder, std::string split, const ShardHeader& header, int64_t shard_tokens)
    : folder_(std::move(folder)), split_(std::move(split)), header_(header), shard_tokens_(shard_tokens) {}

std::string ShardWriter::path_of(int64_t index) const {
  return (fs::path(folder_) / shard_name(split_, index)).string();
}

// Opens the shard of header_ behind its tokens so far, of which there are `documents` documents.
void ShardWriter::open(int64_t documents) {
  const std::string path = path_of(header_.index);
  const int64_t ids_bytes = header_.tokens * header_.token_bytes();
  ids_ = std::make_unique<ResumableFile>(path + ".partial",
                                         documents == 0 ? 0 : static_cast<int64_t>(kShardHeaderBytes) + ids_bytes);
  offsets_ = std::make_unique<ResumableFile>(
      path + ".offsets", documents == 0 ? 0 : (documents + 1) * static_cast<int64_t>(sizeof(int64_t)));
  if (documents > 0) return;
  ids_->append(std::string(kShardHeaderBytes, '\0'));
  offsets_->append(bytes_of(int64_t{0}));
}

void ShardWriter::add(const EncodedDocument& document) {
  if (header_.tokens >= shard_tokens_) finish_shard(/*last=*/false);  // now it is known not to be the last
  if (!ids_) open(0);
  if (header_.token_bytes() == 2) {
    append_ids<uint16_t>(document.ids, *ids_);
  } else {
    append_ids<uint32_t>(document.ids, *ids_);
  }
  header_.documents += 1;
  header_.tokens += static_cast<int64_t>(document.ids.size());
  header_.text_bytes += document.text_bytes;
  offsets_->append(bytes_of(header_.tokens));
  count(document, summary_);
  count(document, domains_[document.domain]);
}

void ShardWriter::finish() {
  if (ids_) finish_shard(/*last=*/true);
}

void ShardWriter::finish_shard(bool last) {
  const std::string path = path_of(header_.index);
  const int64_t padding = stored_ids_bytes(header_, header_.tokens) - header_.tokens * header_.token_bytes();
  ids_->append(std::string(static_cast<size_t>(padding), '\0'));
  offsets_->flush();
  const InputFile offsets(path + ".offsets");
  std::string piece;
  for (int64_t offset = 0; offset < offsets.bytes(); offset += static_cast<int64_t>(piece.size())) {
    piece.resize(std::min(static_cast<size_t>(offsets.bytes() - offset), kPieceBytes));
    offsets.read(offset, piece.data(), static_cast<int64_t>(piece.size()));
    ids_->append(piece);
  }
  ids_->flush();
  header_.last = last;
  header_.payload_hash = hash_file(path + ".partial", kShardHeaderBytes);
  ids_->overwrite(0, shard_header(header_));
  ids_->sync();
  rename_synced(path + ".partial", path);
  finished_offsets_.push_back(path + ".offsets");
  ids_.reset();
  offsets_.reset();
  header_.index += 1;
  header_.documents = header_.tokens = header_.text_bytes = 0;
}

nlohmann::json ShardWriter::commit() {
  if (ids_) {
    ids_->sync();
    offsets_->sync();
  }
  nlohmann::json domains = nlohmann::json::object();
  for (const auto& [name, summary] : domains_) domains[name] = as_json(summary);
  return {{"shard", header_.index},           {"documents", header_.documents}, {"tokens", header_.tokens},
          {"text_bytes", header_.text_bytes}, {"summary", as_json(summary_)},   {"domains", std::move(domains)}};
}

void ShardWriter::forget_older_states() {
  for (const auto& path : finished_offsets_) fs::remove(path);
  finished_offsets_.clear();
}

void ShardWriter::go_on(const nlohmann::json& state) {
  header_.index = state.at("shard");
  header_.documents = state.at("documents");
  header_.tokens = state.at("tokens");
  header_.text_bytes = state.at("text_bytes");
  summary_ = summary_from(state.at("summary"));
  for (const auto& [name, summary] : state.at("domains").items()) domains_[name] = summary_from(summary);

  // Shards from the open one on may have been finished behind the state; offsets of those before it may have been left.
  const std::string open_shard = path_of(header_.index);
  if (fs::exists(open_shard)) rename_synced(open_shard, open_shard + ".partial");
  for (const auto& entry : std::vector(fs::directory_iterator(folder_), fs::directory_iterator())) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(split_ + "-")) continue;
    const bool of_open = name.starts_with(shard_name(split_, header_.index)) && header_.documents > 0;
    const bool of_earlier = name.ends_with(".shard") && name < shard_name(split_, header_.index);
    if (!of_open && !of_earlier) fs::remove(entry.path());
  }
  if (header_.documents > 0) open(header_.documents);
}

}  // namespace dlcm
