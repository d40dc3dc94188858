#include "dlcm/data/build.h"

#include "dlcm/data/shard.h"
#include "dlcm/io/files.h"
#include "dlcm/io/hash.h"
#include "dlcm/tokenizer/text_input.h"
#include "dlcm/tokenizer/tokenizer.h"
#include "dlcm/util/error.h"
#include "dlcm/util/progress.h"
#include "dlcm/util/utf8.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

namespace dlcm {
namespace {

namespace fs = std::filesystem;

// Text encoded at once by all threads.
constexpr size_t kBatchBytes = size_t{8} << 20;
constexpr int64_t kProgressUnit = int64_t{1} << 20;

struct EncodedDocument {
  std::vector<int32_t> ids;  // with <|bos|> and <|endoftext|>
  int64_t text_bytes = 0;
  uint64_t text_hash = 0;
  bool is_utf8 = true;
};

EncodedDocument encode(const Tokenizer& tokenizer, const std::string& text) {
  EncodedDocument document;
  const auto ids = tokenizer.encode(text);
  document.ids.reserve(ids.size() + 2);
  document.ids.push_back(static_cast<int32_t>(tokenizer.begin_of_text()));
  document.ids.insert(document.ids.end(), ids.begin(), ids.end());
  document.ids.push_back(static_cast<int32_t>(tokenizer.end_of_text()));
  document.text_bytes = static_cast<int64_t>(text.size());
  document.text_hash = std::stoull(hash_bytes(text).substr(0, 16), nullptr, 16);
  document.is_utf8 = is_utf8(text);
  return document;
}

// The folder that becomes OUTPUT when it is whole; it is made when the first file is written and goes with this object
// unless it was finished.
class PartialFolder {
 public:
  explicit PartialFolder(const std::string& output) : output_(fs::absolute(output).lexically_normal()) {
    if (!output_.has_filename()) output_ = output_.parent_path();
    partial_ = output_;
    partial_ += ".partial";
    if (fs::exists(output_) && !(fs::is_directory(output_) && fs::is_empty(output_))) {
      throw Error("expected no files at --output {}, found some: remove it or choose another folder", output);
    }
    if (!fs::exists(partial_)) return;
    for (const auto& entry : fs::directory_iterator(partial_)) {
      const auto name = entry.path().filename().string();
      if (name.find(".shard") == std::string::npos && !name.starts_with("tokenizer")) {
        throw Error(
            "expected only shards of an interrupted build in {}, found {}: remove it or choose another --output",
            partial_.string(), name);
      }
    }
    fs::remove_all(partial_);
  }
  ~PartialFolder() {
    std::error_code ignored;
    if (created_) fs::remove_all(partial_, ignored);
  }
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;

  void write(const std::string& name, std::string_view content) {
    if (!created_) {
      std::error_code error;
      fs::create_directories(partial_, error);
      if (error) throw RuntimeFailure("cannot make the folder {}: {}", partial_.string(), error.message());
      created_ = true;
    }
    write_file_synced((partial_ / name).string(), content);
  }

  void finish() {
    rename_synced(partial_.string(), output_.string());
    created_ = false;
  }

 private:
  fs::path output_, partial_;
  bool created_ = false;
};

// Collects the documents of one split and writes its shards.
class SplitWriter {
 public:
  SplitWriter(std::string name, const ShardHeader& header, int64_t shard_tokens, PartialFolder& folder)
      : name_(std::move(name)), header_(header), shard_tokens_(shard_tokens), folder_(folder) {}

  const SplitSummary& summary() const { return summary_; }

  void add(const EncodedDocument& document) {
    if (static_cast<int64_t>(ids_.size()) >= shard_tokens_) write_shard();  // now it is known not to be the last
    ids_.insert(ids_.end(), document.ids.begin(), document.ids.end());
    offsets_.push_back(static_cast<int64_t>(ids_.size()));
    header_.text_bytes += document.text_bytes;
    summary_.documents += 1;
    summary_.tokens += static_cast<int64_t>(document.ids.size());
    summary_.bytes += document.text_bytes;
  }

  void finish() {
    if (ids_.empty()) return;
    header_.last = true;
    write_shard();
  }

 private:
  void write_shard() {
    folder_.write(shard_name(name_, header_.index), shard_content(header_, ids_, offsets_));
    ids_.clear();
    offsets_ = {0};
    header_.text_bytes = 0;
    ++header_.index;
  }

  std::string name_;
  ShardHeader header_;
  int64_t shard_tokens_;
  PartialFolder& folder_;
  SplitSummary summary_;
  std::vector<int32_t> ids_;
  std::vector<int64_t> offsets_{0};
};

// Sends documents to training or validation by the hash of their text. While one side has no document of its own, the
// other side's document that is closest to belonging there is held back; at the end it changes sides. So neither stays
// empty, and which documents are set aside does not depend on their order.
class Splitter {
 public:
  Splitter(const Tokenizer& tokenizer, SplitWriter& train, SplitWriter& valid, double fraction)
      : tokenizer_(tokenizer), sides_{Side{train, std::less<>()}, Side{valid, std::greater<>()}}, fraction_(fraction) {}

  void add(EncodedDocument document) {
    const size_t number = static_cast<double>(document.text_hash) * 0x1p-64 < fraction_ ? 1 : 0;
    Side& own = sides_[number];
    Side& other = sides_[1 - number];
    own.has_own = true;
    if (other.held) {
      other.writer.add(*other.held);
      other.held.reset();
    }
    if (other.has_own || fraction_ == 0) {
      own.writer.add(document);
    } else if (!own.held) {
      own.held = std::move(document);
    } else {
      if (own.closer(document.text_hash, own.held->text_hash)) std::swap(document, *own.held);
      own.writer.add(document);
    }
  }

  void finish() {
    for (size_t number = 0; number < 2; ++number) {
      Side& own = sides_[number];
      if (!own.held) continue;
      const bool only_document = own.writer.summary().documents == 0;
      if (only_document) {
        add_in_two_parts(*own.held);
      } else {
        sides_[1 - number].writer.add(*own.held);
      }
      own.held.reset();
    }
  }

 private:
  struct Side {
    SplitWriter& writer;
    std::function<bool(uint64_t, uint64_t)> closer;
    bool has_own = false;
    std::optional<EncodedDocument> held{};
  };

  // A corpus of one document gives its end to validation, as a document of its own: at least a tenth of it or
  // kLeastValidationTokens, whichever is less. One of a few tokens is left whole.
  void add_in_two_parts(const EncodedDocument& document) {
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

  static constexpr int64_t kLeastValidationTokens = 4096;
  const Tokenizer& tokenizer_;
  std::array<Side, 2> sides_;
  double fraction_;
};

// Encodes the documents of `input` with all threads and hands them on in their order.
class ParallelEncoder {
 public:
  ParallelEncoder(const Tokenizer& tokenizer, DataSummary& summary) : tokenizer_(tokenizer), summary_(summary) {}

  void run(TextInput& input, const std::function<void(EncodedDocument)>& take) {
    std::optional<ProgressLine> progress;  // on a terminal only: the summary is what a log needs
    if (::isatty(STDERR_FILENO) != 0) {
      ProgressLine::Options options;
      options.label = "MiB read";
      options.total = whole_units(input.bytes());
      progress.emplace(std::move(options));
    }
    int64_t documents = 0;
    bool more = true;
    while (more) {
      std::vector<std::string> texts;
      size_t bytes = 0;
      for (std::string text; bytes < kBatchBytes && (more = input.next(text));) {
        bytes += text.size();
        texts.push_back(std::move(text));
      }
      for (auto& document : encode_all(texts)) {
        summary_.documents_not_utf8 += document.is_utf8 ? 0 : 1;
        take(std::move(document));
      }
      documents += static_cast<int64_t>(texts.size());
      if (progress) progress->update(whole_units(input.bytes_read()), {fmt::format("{} documents", documents)});
    }
  }

 private:
  static int64_t whole_units(int64_t bytes) { return (bytes + kProgressUnit - 1) / kProgressUnit; }

  std::vector<EncodedDocument> encode_all(const std::vector<std::string>& texts) const {
    std::vector<EncodedDocument> documents(texts.size());
    std::atomic<size_t> next = 0;
    std::mutex mutex;
    std::exception_ptr failure;
    const auto work = [&] {
      try {
        for (size_t index = next++; index < texts.size(); index = next++) {
          documents[index] = encode(tokenizer_, texts[index]);
        }
      } catch (...) {
        const std::lock_guard lock(mutex);
        failure = std::current_exception();
      }
    };
    {
      std::vector<std::jthread> helpers;
      for (unsigned number = 1; number < std::min<size_t>(std::thread::hardware_concurrency(), texts.size()); ++number)
        helpers.emplace_back(work);
      work();
    }
    if (failure) std::rethrow_exception(failure);
    return documents;
  }

  const Tokenizer& tokenizer_;
  DataSummary& summary_;
};

void check(const DataBuild& build) {
  if (!(build.validation_fraction >= 0 && build.validation_fraction < 1)) {
    throw Error("expected a --validation-fraction from 0 to below 1, found {}", build.validation_fraction);
  }
  if (build.domain.size() > kLongestDomainBytes || !is_utf8(build.domain) ||
      build.domain.find('\0') != std::string::npos) {
    throw Error("expected a --domain of at most {} bytes of UTF-8, found \"{}\"", kLongestDomainBytes, build.domain);
  }
}

}  // namespace

double SplitSummary::bytes_per_token() const {
  const int64_t text_tokens = tokens - 2 * documents;
  return text_tokens == 0 ? 0.0 : static_cast<double>(bytes) / static_cast<double>(text_tokens);
}

DataSummary build_data(const DataBuild& build, std::istream& standard_input) {
  check(build);
  const auto tokenizer = load_tokenizer(build.tokenizer);
  TextInput input(build.inputs, standard_input);
  TextInput validation(build.validation, standard_input);
  PartialFolder folder(build.output);
  const ShardHeader header{
      .vocabulary = tokenizer->vocabulary(), .tokenizer_hash = tokenizer->hash(), .domain = build.domain};
  SplitWriter train("train", header, build.shard_tokens, folder);
  SplitWriter valid("valid", header, build.shard_tokens, folder);

  DataSummary summary;
  ParallelEncoder encoder(*tokenizer, summary);
  const auto refuse_empty = [](const SplitWriter& split, const std::vector<std::string>& paths) {
    if (split.summary().documents == 0) throw Error("expected text in {}, found none", fmt::join(paths, ", "));
  };
  if (build.validation.empty()) {
    Splitter splitter(*tokenizer, train, valid, build.validation_fraction);
    encoder.run(input, [&](EncodedDocument document) { splitter.add(std::move(document)); });
    splitter.finish();
  } else {
    encoder.run(input, [&](const EncodedDocument& document) { train.add(document); });
    encoder.run(validation, [&](const EncodedDocument& document) { valid.add(document); });
    refuse_empty(valid, build.validation);
  }
  refuse_empty(train, build.inputs);
  train.finish();
  valid.finish();
  folder.write("tokenizer", tokenizer->serialized());
  folder.finish();
  summary.train = train.summary();
  summary.valid = valid.summary();
  return summary;
}

}  // namespace dlcm
