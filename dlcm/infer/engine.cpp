#include "dlcm/infer/engine.h"

#include "dlcm/infer/engine_pass.h"
#include "dlcm/util/error.h"

#include <algorithm>
#include <random>
#include <set>

namespace dlcm {
namespace {

void check_work(const EngineWork& work, const Config& config) {
  const auto count = static_cast<int64_t>(work.ids.size());
  for (const auto id : work.ids) {
    if (id < 0 || id >= config.model.vocabulary) {
      throw Error("expected ids from 0 to {}, found {}: use the model's own tokenizer", config.model.vocabulary - 1,
                  id);
    }
  }
  int64_t row = 0;
  for (const auto& query : work.queries) {
    if (query.row < row || query.row >= count || query.id < 0 || query.id >= config.model.vocabulary) {
      throw Error("expected questions in the order of {} rows about ids from 0 to {}, found row {} and id {}", count,
                  config.model.vocabulary - 1, query.row, query.id);
    }
    row = query.row;
  }
  if (work.forced.empty()) return;
  if (work.forced.size() != work.ids.size()) {
    throw Error("expected a forced boundary for each of {} ids, found {}", work.ids.size(), work.forced.size());
  }
  if (work.sequence->length() == 0 && work.forced.front() == 0) {
    throw Error("expected a boundary at a text's first id, found it forced off: a text begins with a concept");
  }
}

}  // namespace

Engine::Engine(std::shared_ptr<const EngineModel> model, EngineSettings settings)
    : model_(std::move(model)),
      settings_(settings),
      pool_(settings.threads > 0 ? static_cast<int>(settings.threads) : ThreadPool::processors()),
      pass_(std::make_unique<EnginePass>(*model_, pool_)) {}

Engine::~Engine() = default;

std::unique_ptr<Sequence> Engine::new_sequence() const {
  return std::make_unique<Sequence>(model_->config, settings_.cache);
}

std::unique_ptr<Sequence> Engine::noise_sequence(int64_t ids, int64_t concepts) {
  const auto& config = model_->config;
  std::mt19937 random(1);
  std::uniform_real_distribution<float> value(-1.0f, 1.0f);
  const auto noise = [&](int64_t size) {
    std::vector<float> values(static_cast<size_t>(size));
    for (auto& entry : values) entry = value(random);
    return values;
  };
  const auto fill = [&](KeyValueCache& cache, int64_t rows) {
    const int64_t width = cache.shape().kv_heads * cache.shape().head_size;
    const auto block = noise(2 * width * kCacheBlock);
    for (int64_t first = 0; first < rows; first += kCacheBlock) {
      cache.append(pool_, block.data(), block.data() + width, std::min(kCacheBlock, rows - first), 2 * width);
    }
  };
  auto sequence = new_sequence();
  sequence->length_ = ids;
  for (auto& cache : sequence->decoder_) fill(cache, ids);
  if (!model_->has_concepts() || concepts == 0) return sequence;
  for (auto& cache : sequence->encoder_) fill(cache, ids);
  for (auto& cache : sequence->concept_stack_) fill(cache, concepts);
  for (auto& cache : sequence->places_) fill(cache, concepts);
  sequence->concepts_ = concepts;
  sequence->log_lengths_.assign(static_cast<size_t>(concepts), 0.0f);
  sequence->open_length_ = 1;
  sequence->previous_ =
      noise(config.parser.rule == BoundaryRule::learned ? config.scan_width() : config.model.token.width);
  sequence->open_sum_ = noise(config.model.token.width);
  sequence->smoothed_ = noise(config.model.concepts.width);
  sequence->open_residual_ = noise(config.model.token.width);
  return sequence;
}

const EngineTraffic& Engine::traffic() const { return pass_->traffic(); }

std::vector<EngineResult> Engine::step(std::span<const EngineWork> works) {
  std::set<const Sequence*> sequences;
  for (const auto& work : works) {
    check_work(work, model_->config);
    if (!sequences.insert(work.sequence).second) throw Error("expected a sequence once in a step, found it twice");
  }
  std::vector<EngineResult> results(works.size());
  std::vector<EnginePass::Part> parts;
  int64_t rows = 0;
  const auto run = [&] {
    if (!parts.empty()) pass_->run(parts);
    parts.clear();
    rows = 0;
  };
  for (size_t i = 0; i < works.size(); ++i) {
    const auto count = static_cast<int64_t>(works[i].ids.size());
    for (int64_t first = 0; first < count;) {
      const int64_t taken = std::min(count - first, kRowsAtOnce - rows);
      parts.push_back({.work = &works[i], .result = &results[i], .first = first, .count = taken});
      first += taken;
      rows += taken;
      if (rows == kRowsAtOnce) run();
    }
  }
  run();
  return results;
}

EngineResult Engine::step(const EngineWork& work) { return std::move(step(std::span(&work, 1)).front()); }

}  // namespace dlcm
