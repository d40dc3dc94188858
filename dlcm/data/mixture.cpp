#include "dlcm/data/mixture.h"

#include "dlcm/io/hash.h"
#include "dlcm/ops/uniform.h"
#include "dlcm/util/error.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <utility>

namespace dlcm {
namespace {

// Sources of one order get seeds of their own; the first has the run's, so that a directory by itself has the order
// that it has as the only source of a mixture.
constexpr uint64_t kSeedStep = 0x9E3779B97F4A7C15ull;

std::string name_of_directory(const std::string& path) {
  auto directory = std::filesystem::path(path).lexically_normal();
  if (!directory.has_filename()) directory = directory.parent_path();
  return directory.filename().string();
}

}  // namespace

Mixture::Mixture(const std::string& path, Split split) {
  if (!std::filesystem::is_regular_file(path)) {
    sources_.push_back({name_of_directory(path), 1.0, Dataset(path, split)});
    return;
  }
  const auto entries = read_mixture_file(path);
  double sum = 0;
  for (const auto& entry : entries) sum += entry.weight;
  for (const auto& entry : entries) {
    sources_.push_back({entry.name, entry.weight / sum, Dataset(entry.directory, split)});
    const auto& own = *sources_.back().data.tokenizer();
    if (own.hash() != tokenizer()->hash()) {
      throw Error(
          "expected all sources of {} to be of one tokenizer, found {} of tokenizer {} and {} of {}: build them "
          "with the same tokenizer file",
          path, sources_.front().name, tokenizer()->hash(), entry.name, own.hash());
    }
  }
}

int64_t Mixture::documents() const {
  int64_t sum = 0;
  for (const Source& source : sources_) sum += source.data.documents();
  return sum;
}

int64_t Mixture::tokens() const {
  int64_t sum = 0;
  for (const Source& source : sources_) sum += source.data.tokens();
  return sum;
}

std::string Mixture::hash() const {
  if (sources_.size() == 1) return sources_.front().data.hash();
  std::string parts;
  for (const Source& source : sources_) parts += fmt::format("{} {:a}\n", source.data.hash(), source.share);
  return hash_bytes(parts);
}

std::vector<Batch> validation_batches(const Mixture& mixture, int64_t context, int64_t batch_tokens,
                                      int64_t max_tokens) {
  std::vector<Batch> batches;
  for (const auto& source : mixture.sources()) {
    const auto own = static_cast<int64_t>(std::llround(source.share * static_cast<double>(max_tokens)));
    auto part = validation_batches(source.data, context, batch_tokens, own);
    batches.insert(batches.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
  }
  return batches;
}

MixedWindows::MixedWindows(const Mixture& mixture, int64_t seed, int64_t context)
    : mixture_(mixture), seed_(static_cast<uint64_t>(seed)), context_(context) {
  for (uint64_t number = 0; number < mixture.sources().size(); ++number) {
    windows_.push_back(std::make_unique<ShuffledWindows>(mixture.sources()[number].data,
                                                         static_cast<int64_t>(seed_ + number * kSeedStep), context));
  }
}

double MixedWindows::arrival(size_t source, int64_t window) const {
  const double draw = uniform_draw(seed_, DrawUse::mixture, source, static_cast<uint64_t>(window));
  return (static_cast<double>(window) + draw) / mixture_.sources()[source].share;
}

int64_t MixedWindows::arrived(size_t source, double time) const {
  // Window i arrives in [i, i + 1) / share; the comparisons make up for the rounding of the first guess.
  auto count = std::max<int64_t>(0, static_cast<int64_t>(time * mixture_.sources()[source].share) - 1);
  while (count > 0 && arrival(source, count - 1) >= time) --count;
  while (arrival(source, count) < time) ++count;
  return count;
}

std::vector<MixedWindows::Place> MixedWindows::places(int64_t first, int64_t count,
                                                      std::vector<int64_t>* before) const {
  // By time t every source has let in floor(share t) windows or one more, all together between t - S and t + S.
  const auto num_sources = static_cast<int64_t>(windows_.size());
  const double time = static_cast<double>(first - num_sources - 1);
  std::vector<int64_t> next(windows_.size());
  for (size_t source = 0; source < next.size(); ++source) next[source] = arrived(source, time);
  int64_t position = std::accumulate(next.begin(), next.end(), int64_t{0});
  TORCH_CHECK(position <= first, "MixedWindows: ", position, " windows before time ", time);
  std::vector<double> arrivals(windows_.size());
  for (size_t source = 0; source < next.size(); ++source) arrivals[source] = arrival(source, next[source]);
  std::vector<Place> result;
  for (; position < first + count; ++position) {
    if (position == first && before != nullptr) *before = next;
    const auto source = static_cast<size_t>(std::min_element(arrivals.begin(), arrivals.end()) - arrivals.begin());
    if (position >= first) result.push_back({source, next[source]});
    arrivals[source] = arrival(source, ++next[source]);
  }
  return result;
}

std::vector<MixedWindows::Place> MixedWindows::windows(int64_t first, int64_t count) const {
  TORCH_CHECK(first % context_ == 0 && count % context_ == 0 && count > 0, "MixedWindows: ", count, " tokens from ",
              first, " are no whole windows of ", context_);
  return places(first / context_, count / context_);
}

Batch MixedWindows::read(const std::vector<Place>& windows) const {
  std::vector<at::Tensor> tokens, targets;
  std::vector<int64_t> offsets{0};
  for (const auto& [source, number] : windows) {
    const auto window = windows_[source]->window(number);
    const int64_t begin = offsets.back();
    for (int64_t i = 1; i <= window.documents.size(); ++i) offsets.push_back(begin + window.documents.offsets[i]);
    tokens.push_back(window.token_T);
    targets.push_back(window.target_T);
  }
  Batch batch;
  batch.token_T = at::cat(tokens);
  batch.target_T = at::cat(targets);
  batch.documents = Documents::from_offsets(std::move(offsets));
  return batch;
}

std::vector<int64_t> MixedWindows::offsets(const Place& window) const {
  return windows_[window.source]->offsets(window.number);
}

int64_t MixedWindows::targets(int64_t first, int64_t count) const {
  int64_t sum = 0;
  for (const auto& [source, number] : places(first / context_, count / context_))
    sum += windows_[source]->targets(number);
  return sum;
}

std::vector<double> MixedWindows::epochs(int64_t first) const {
  std::vector<int64_t> before;
  places(first / context_, 1, &before);
  std::vector<double> epochs;
  for (size_t source = 0; source < before.size(); ++source) {
    epochs.push_back(static_cast<double>(before[source] * context_) /
                     static_cast<double>(mixture_.sources()[source].data.tokens()));
  }
  return epochs;
}

}  // namespace dlcm
