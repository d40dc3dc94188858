// The inference engine: ids in, scores of boundaries and logits out, for many sequences side by side (SPEC section 6).
//
// A step reads rows of several sequences, prompts and single tokens alike: all rows go through the token stacks
// together, and the backbone runs on the concepts that were closed in them. With weights and caches in float, what a
// row gives depends on its sequence's ids alone, bit for bit: not on the rows beside it, the number of threads, or how
// the ids before it were split over steps (on one instruction set; SPEC section 1).
#pragma once

#include "dlcm/infer/engine_model.h"
#include "dlcm/infer/engine_traffic.h"
#include "dlcm/infer/log_probabilities.h"
#include "dlcm/infer/sequence.h"
#include "dlcm/kernels/thread_pool.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace dlcm {

struct EngineSettings {
  int64_t threads = 0;  // 0 is one for each core that the process may use
  CacheFormat cache = CacheFormat::float32;
};

enum class LogitsWanted { none, last, all };

// Ids that continue one sequence: a prompt, a part of one, or a decoded token.
struct EngineWork {
  Sequence* sequence = nullptr;       // made by the same engine; no two works of a step have the same
  std::span<const int32_t> ids = {};  // in [0, V)
  double threshold = 0.5;             // p at which a token opens a concept; not read by rules other than learned
  std::span<const uint8_t> forced =
      {};  // one per id: these boundaries whatever the scores say; empty: the rule decides
  LogitsWanted logits = LogitsWanted::none;
  std::span<const TokenQuery> queries = {};  // rows rising, counted from the first of `ids`
  int64_t likely = 0;                        // most likely tokens wanted with each query
};

struct EngineResult {
  std::vector<float> boundary_prob;  // p of each id; empty for llama
  std::vector<uint8_t> boundary;     // whether each id opens a concept; empty for llama
  std::vector<float> logits;         // [1 or ids, V], by rows
  std::vector<TokenScore> scores;    // one per query
};

class Engine {
 public:
  explicit Engine(std::shared_ptr<const EngineModel> model, EngineSettings settings = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const EngineModel& model() const { return *model_; }
  const EngineSettings& settings() const { return settings_; }
  int64_t threads() const { return pool_.threads(); }
  int64_t vocabulary() const { return model_->config.model.vocabulary; }

  std::unique_ptr<Sequence> new_sequence() const;
  // A sequence as if it had read `ids` ids and opened `concepts` concepts, its caches filled with noise: for measuring
  // what it costs to read on from there.
  std::unique_ptr<Sequence> noise_sequence(int64_t ids, int64_t concepts);

  // One result per work. Rows beyond kRowsAtOnce are read in several passes, which changes nothing. Throws Error where
  // an id, a query or a forced boundary is out of range, and then leaves every sequence as it was. One call at a time.
  std::vector<EngineResult> step(std::span<const EngineWork> works);
  // The same for one sequence.
  EngineResult step(const EngineWork& work);

  // Since the engine was made.
  const EngineTraffic& traffic() const;

  static constexpr int64_t kRowsAtOnce = 512;

 private:
  std::shared_ptr<const EngineModel> model_;
  EngineSettings settings_;
  ThreadPool pool_;
  std::unique_ptr<class EnginePass> pass_;
};

}  // namespace dlcm
