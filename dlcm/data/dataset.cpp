#include "dlcm/data/dataset.h"

#include "dlcm/data/shard.h"
#include "dlcm/io/files.h"
#include "dlcm/io/hash.h"
#include "dlcm/util/error.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <mutex>
#include <numeric>

namespace dlcm {

struct Dataset::Implementation {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<Shard> shards;
  std::vector<int64_t> first_document{0};  // of each shard, and the number of all documents
  int64_t tokens = 0;

  // Where document `index` stands.
  struct Place {
    const Shard* shard;
    int64_t first;  // token of the shard
    int64_t length;
  };
  Place place(int64_t index) const {
    TORCH_CHECK(index >= 0 && index < first_document.back(), "document ", index, " of ", first_document.back());
    const auto after = std::upper_bound(first_document.begin(), first_document.end(), index);
    const auto number = static_cast<size_t>(after - first_document.begin() - 1);
    const Shard& shard = shards[number];
    const int64_t within = index - first_document[number];
    return {&shard, shard.offset(within), shard.offset(within + 1) - shard.offset(within)};
  }
};

namespace {

void check_shard(const ShardHeader& header, int64_t index, const Tokenizer& tokenizer, const std::string& path) {
  if (header.tokenizer_hash != tokenizer.hash() || header.vocabulary != tokenizer.vocabulary()) {
    throw Error(
        "expected the shard {} to be of the directory's tokenizer {} with {} ids, found tokenizer {} with {} ids: "
        "build "
        "the data again",
        path, tokenizer.hash(), tokenizer.vocabulary(), header.tokenizer_hash, header.vocabulary);
  }
  if (header.index != index) {
    throw Error("expected shard number {} at {}, found number {}: the file has been renamed, build the data again",
                index, path, header.index);
  }
}

}  // namespace

Dataset::Dataset(const std::string& directory, Split split) : implementation_(std::make_unique<Implementation>()) {
  namespace fs = std::filesystem;
  const std::string name = split == Split::train ? "train" : "valid";
  const auto path_of = [&](int64_t index) { return (fs::path(directory) / shard_name(name, index)).string(); };
  if (!fs::is_directory(directory)) {
    throw Error("expected a data directory at {}, found none: make one with `dlcm data build`", directory);
  }
  if (!fs::exists(path_of(0))) {
    throw Error("expected the shard {} in the data directory {}, found none: build the data {}", shard_name(name, 0),
                directory, split == Split::train ? "with `dlcm data build`" : "from more text, or with --validation");
  }
  auto& content = *implementation_;
  content.tokenizer = load_tokenizer((fs::path(directory) / "tokenizer").string());
  for (bool last = false; !last;) {
    const auto index = static_cast<int64_t>(content.shards.size());
    const Shard& shard = content.shards.emplace_back(path_of(index));
    check_shard(shard.header(), index, *content.tokenizer, path_of(index));
    content.first_document.push_back(content.first_document.back() + shard.header().documents);
    content.tokens += shard.header().tokens;
    last = shard.header().last;
  }
}

Dataset::~Dataset() = default;
Dataset::Dataset(Dataset&&) noexcept = default;

int64_t Dataset::documents() const { return implementation_->first_document.back(); }
int64_t Dataset::tokens() const { return implementation_->tokens; }
const std::shared_ptr<const Tokenizer>& Dataset::tokenizer() const { return implementation_->tokenizer; }
int64_t Dataset::document_length(int64_t index) const { return implementation_->place(index).length; }

std::string Dataset::hash() const {
  std::string hashes = implementation_->tokenizer->hash();
  for (const Shard& shard : implementation_->shards) hashes += shard.header().payload_hash;
  return hash_bytes(hashes);
}

std::vector<int32_t> Dataset::document(int64_t index) const {
  const auto place = implementation_->place(index);
  std::vector<int64_t> ids(static_cast<size_t>(place.length));
  place.shard->copy(place.first, place.length, ids.data());
  return {ids.begin(), ids.end()};
}

namespace {

// The finaliser of SplitMix64: a bijection that spreads every bit.
uint64_t mixed(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
  return value ^ (value >> 31);
}

constexpr uint64_t kGoldenRatio = 0x9E3779B97F4A7C15ull;

// The documents of one epoch: position i of the epoch's order is document[i], and it ends before token end[i].
struct EpochOrder {
  int64_t epoch = -1;
  std::vector<int64_t> document;
  std::vector<int64_t> end;
};

}  // namespace

struct TokenStream::Implementation {
  const Dataset::Implementation* dataset;
  uint64_t seed;
  mutable std::mutex mutex;
  // The two epochs used last: a step may lie across an epoch's edge.
  mutable std::array<std::shared_ptr<const EpochOrder>, 2> recent;

  int64_t documents() const { return dataset->first_document.back(); }

  std::shared_ptr<const EpochOrder> order(int64_t epoch) const {
    const std::lock_guard lock(mutex);
    if (!recent[0] || recent[0]->epoch != epoch) {
      std::swap(recent[0], recent[1]);
      if (!recent[0] || recent[0]->epoch != epoch) recent[0] = make_order(epoch);
    }
    return recent[0];
  }

  // Fisher-Yates with a counter generator keyed by (seed, epoch).
  std::shared_ptr<const EpochOrder> make_order(int64_t epoch) const {
    auto order = std::make_shared<EpochOrder>();
    order->epoch = epoch;
    order->document.resize(static_cast<size_t>(documents()));
    order->end.resize(order->document.size());
    for (size_t index = 0; index < order->document.size(); ++index) {
      order->document[index] = static_cast<int64_t>(index);
    }
    const uint64_t key = mixed(mixed(seed + kGoldenRatio) + static_cast<uint64_t>(epoch));
    for (uint64_t left = order->document.size(); left > 1; --left) {
      const uint64_t draw = mixed(key + left * kGoldenRatio);
      const auto chosen = static_cast<uint64_t>((static_cast<unsigned __int128>(draw) * left) >> 64);
      std::swap(order->document[left - 1], order->document[chosen]);
    }
    int64_t end = 0;
    for (size_t index = 0; index < order->document.size(); ++index) {
      end += dataset->place(order->document[index]).length;
      order->end[index] = end;
    }
    return order;
  }

  // Documents of the stream that end at or before `position`.
  int64_t ends_before(int64_t position) const {
    const int64_t epoch = position / dataset->tokens;
    const auto current = order(epoch);
    const auto after = std::upper_bound(current->end.begin(), current->end.end(), position % dataset->tokens);
    return epoch * documents() + (after - current->end.begin());
  }
};

TokenStream::TokenStream(const Dataset& dataset, int64_t seed) : implementation_(std::make_unique<Implementation>()) {
  implementation_->dataset = dataset.implementation_.get();
  implementation_->seed = static_cast<uint64_t>(seed);
}

TokenStream::~TokenStream() = default;

Batch TokenStream::read(int64_t first, int64_t count, int64_t context) const {
  TORCH_CHECK(count > 0 && context > 0 && first >= 0 && first % context == 0, "stream position ", first, ", count ",
              count, ", context ", context);
  const auto& dataset = *implementation_->dataset;
  Batch batch;
  batch.token_T = at::empty({count}, at::kLong);
  batch.target_T = at::empty({count}, at::kLong);
  auto* const token = batch.token_T.mutable_data_ptr<int64_t>();
  auto* const target = batch.target_T.mutable_data_ptr<int64_t>();
  std::vector<int64_t> offsets{0};
  for (int64_t row = 0; row < count;) {
    const int64_t position = (first + row) % dataset.tokens;
    const auto order = implementation_->order((first + row) / dataset.tokens);
    const auto next = std::upper_bound(order->end.begin(), order->end.end(), position);
    const auto place = dataset.place(order->document[static_cast<size_t>(next - order->end.begin())]);
    const int64_t left = *next - position;  // tokens of the document from here on
    const int64_t length = std::min({left, context - row % context, count - row});
    const int64_t begin = place.first + place.length - left;
    place.shard->copy(begin, length, token + row);
    place.shard->copy(begin + 1, length - 1, target + row);
    target[row + length - 1] = length < left ? place.shard->id(begin + length) : -1;
    row += length;
    offsets.push_back(row);
  }
  batch.documents = Documents::from_offsets(std::move(offsets));
  return batch;
}

std::vector<int64_t> TokenStream::offsets(int64_t first, int64_t count, int64_t context) const {
  const int64_t tokens = implementation_->dataset->tokens;
  std::vector<int64_t> offsets{0};
  for (int64_t row = 0; row < count;) {
    const int64_t position = (first + row) % tokens;
    const auto order = implementation_->order((first + row) / tokens);
    const int64_t left = *std::upper_bound(order->end.begin(), order->end.end(), position) - position;
    row += std::min({left, context - row % context, count - row});
    offsets.push_back(row);
  }
  return offsets;
}

int64_t TokenStream::targets(int64_t first, int64_t count) const {
  return count - (implementation_->ends_before(first + count) - implementation_->ends_before(first));
}

double TokenStream::epochs(int64_t first) const {
  return static_cast<double>(first) / static_cast<double>(implementation_->dataset->tokens);
}

namespace {

// Packs pieces of documents into batches.
class Packer {
 public:
  Packer(int64_t context, int64_t batch_tokens, int64_t max_tokens)
      : context_(context), batch_tokens_(batch_tokens), tokens_left_(max_tokens) {
    TORCH_CHECK(context > 0 && context <= batch_tokens, "context ", context, " of batches of ", batch_tokens);
  }

  bool full() const { return tokens_left_ <= 0; }

  void add(const std::vector<int32_t>& ids) {
    const auto size = static_cast<int64_t>(ids.size());
    for (int64_t begin = 0; begin < size && !full(); begin += context_) {
      const int64_t end = std::min(size, begin + std::min(context_, tokens_left_));
      if (static_cast<int64_t>(token_.size()) + end - begin > batch_tokens_) close_batch();
      token_.insert(token_.end(), ids.begin() + begin, ids.begin() + end);
      target_.insert(target_.end(), ids.begin() + begin + 1, ids.begin() + std::min(end + 1, size));
      if (end == size) target_.push_back(-1);
      offsets_.push_back(static_cast<int64_t>(token_.size()));
      tokens_left_ -= end - begin;
    }
  }

  std::vector<Batch> finish() {
    if (!token_.empty()) close_batch();
    return std::move(batches_);
  }

 private:
  void close_batch() {
    Batch batch;
    batch.token_T = at::tensor(token_, at::kLong);
    batch.target_T = at::tensor(target_, at::kLong);
    batch.documents = Documents::from_offsets(std::move(offsets_));
    batches_.push_back(std::move(batch));
    token_.clear();
    target_.clear();
    offsets_ = {0};
  }

  int64_t context_, batch_tokens_, tokens_left_;
  std::vector<int64_t> token_, target_, offsets_{0};
  std::vector<Batch> batches_;
};

// 0 .. count - 1 in an order that looks random and never changes, so that the first tokens are a sample of them all.
std::vector<int64_t> fixed_order(int64_t count) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [](int64_t left, int64_t right) {
    return mixed(static_cast<uint64_t>(left) + kGoldenRatio) < mixed(static_cast<uint64_t>(right) + kGoldenRatio);
  });
  return order;
}

}  // namespace

std::vector<Batch> validation_batches(const Dataset& dataset, int64_t context, int64_t batch_tokens,
                                      int64_t max_tokens) {
  Packer packer(context, batch_tokens, max_tokens);
  for (const int64_t index : fixed_order(dataset.documents())) {
    if (packer.full()) break;
    packer.add(dataset.document(index));
  }
  return packer.finish();
}

std::vector<Batch> batches_of(const std::vector<std::vector<int32_t>>& documents, int64_t context,
                              int64_t batch_tokens) {
  Packer packer(context, batch_tokens, std::numeric_limits<int64_t>::max());
  for (const auto& document : documents) packer.add(document);
  return packer.finish();
}

}  // namespace dlcm
