#include "dlcm/data/splitter.h"

#include "dlcm/io/files.h"
#include "dlcm/util/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

namespace dlcm {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kLeastValidationTokens = 4096;
constexpr std::string_view kHeldPrefix = "held-";

}  // namespace

Splitter::Splitter(const Tokenizer& tokenizer, ShardWriter& train, ShardWriter& valid, double fraction,
                   std::string folder)
    : tokenizer_(tokenizer), sides_{Side{train}, Side{valid}}, fraction_(fraction), folder_(std::move(folder)) {}

void Splitter::add(EncodedDocument document, uint64_t text_hash) {
  const size_t number = static_cast<double>(text_hash) * 0x1p-64 < fraction_ ? 1 : 0;
  Side& own = sides_[number];
  Side& other = sides_[1 - number];
  own.has_own = true;
  if (other.held) {
    other.writer.add(other.held->document);
    other.held.reset();
  }
  if (other.has_own || fraction_ == 0) {
    own.writer.add(document);
    return;
  }
  Held added{std::move(document), text_hash};
  if (!own.held) {
    own.held = std::move(added);
    return;
  }
  // Training gives away its smallest hash, validation its largest.
  const bool is_closer = number == 0 ? text_hash < own.held->text_hash : text_hash > own.held->text_hash;
  if (is_closer) std::swap(added, *own.held);
  own.writer.add(added.document);
}

void Splitter::finish() {
  for (size_t number = 0; number < sides_.size(); ++number) {
    Side& own = sides_[number];
    if (!own.held) continue;
    const bool only_document = own.writer.summary().documents == 0;
    if (only_document) {
      add_in_two_parts(own.held->document);
    } else {
      sides_[1 - number].writer.add(own.held->document);
    }
    own.held.reset();
  }
}

// A corpus of one document gives its end to validation, as a document of its own: at least a tenth of it or
// kLeastValidationTokens, whichever is less. One of a few tokens is left whole.
void Splitter::add_in_two_parts(const EncodedDocument& document) {
  const auto text_tokens = static_cast<int64_t>(document.ids.size()) - 2;  // <|bos|> and <|endoftext|> apart
  const auto set_aside = std::max(static_cast<int64_t>(fraction_ * static_cast<double>(text_tokens)),
                                  std::min(text_tokens / 10, kLeastValidationTokens));
  if (set_aside == 0) return sides_[0].writer.add(document);
  EncodedDocument train = document, valid = document;
  train.ids.erase(train.ids.end() - 1 - set_aside, train.ids.end() - 1);
  valid.ids.erase(valid.ids.begin() + 1, valid.ids.end() - 1 - set_aside);
  valid.text_bytes = 0;
  for (const int32_t id : valid.ids) valid.text_bytes += static_cast<int64_t>(tokenizer_.piece(id).size());
  train.text_bytes -= valid.text_bytes;
  sides_[0].writer.add(train);
  sides_[1].writer.add(valid);
}

nlohmann::json Splitter::commit() {
  ++num_commits_;
  auto state = nlohmann::json{{"commits", num_commits_}, {"sides", nlohmann::json::array()}};
  for (const Side& side : sides_) {
    auto entry = nlohmann::json{{"has_own", side.has_own}};
    if (side.held) {
      const auto& [document, text_hash] = *side.held;
      const std::string name = fmt::format("{}{}", kHeldPrefix, num_commits_);
      write_file_synced((fs::path(folder_) / name).string(),
                        {reinterpret_cast<const char*>(document.ids.data()), document.ids.size() * sizeof(int32_t)});
      entry["held"] = {
          {"file", name}, {"text_bytes", document.text_bytes}, {"domain", document.domain}, {"hash", text_hash}};
    }
    state["sides"].push_back(std::move(entry));
  }
  return state;
}

void Splitter::forget_older_states() {
  const std::string current = fmt::format("{}{}", kHeldPrefix, num_commits_);
  for (const auto& entry : std::vector(fs::directory_iterator(folder_), fs::directory_iterator())) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kHeldPrefix) && name != current) fs::remove(entry.path());
  }
}

void Splitter::go_on(const nlohmann::json& state) {
  num_commits_ = state.at("commits");
  for (size_t number = 0; number < sides_.size(); ++number) {
    const auto& entry = state.at("sides").at(number);
    sides_[number].has_own = entry.at("has_own");
    if (!entry.contains("held")) continue;
    const auto& stored = entry["held"];
    const auto bytes = read_file((fs::path(folder_) / stored.at("file").get<std::string>()).string(),
                                 std::numeric_limits<int64_t>::max());
    Held held{{.ids = std::vector<int32_t>(bytes.size() / sizeof(int32_t)),
               .text_bytes = stored.at("text_bytes"),
               .domain = stored.at("domain")},
              stored.at("hash")};
    std::memcpy(held.document.ids.data(), bytes.data(), bytes.size());
    sides_[number].held = std::move(held);
  }
  forget_older_states();
}

}  // namespace dlcm
