// One prompt to be continued by the scheduler, and what it tells of it.
#pragma once

#include "dlcm/infer/generate.h"
#include "dlcm/infer/log_probabilities.h"
#include "dlcm/infer/sampler.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dlcm {

// Where concepts begin, as the model reads its tokens: one entry per token; empty for a llama model.
struct ReadTokens {
  std::vector<float> boundary_prob;
  std::vector<uint8_t> boundary;
};

struct PromptResult {
  std::vector<TokenScore> scores;  // of all ids but the first, where the prompt was to be scored
  ReadTokens read;                 // where concepts were asked for
  int64_t concepts = 0;            // that the prompt opened
  int64_t reused_tokens = 0;       // of its beginning, which had been read for another one
};

struct SampledToken {
  int32_t id = 0;
  std::string text;                 // of the choice that has become certain with this token; any bytes
  std::optional<TokenScore> score;  // where log-probabilities were asked for
  // Where concepts were asked for and the token was read (which <|endoftext|> never is):
  std::optional<float> boundary_prob;
  bool boundary = false;
};

// Told in the scheduler's thread, in this order: the prompt once, then each sample's tokens and its end. After
// `failed` nothing follows. Nothing here may compute for long.
class GenerationListener {
 public:
  virtual ~GenerationListener() = default;
  virtual void prompt_read(PromptResult result) = 0;
  virtual void token_sampled(int64_t sample, SampledToken token) = 0;
  // `text` is what was held back in case a stop string came.
  virtual void sample_ended(int64_t sample, FinishReason end, std::string text) = 0;
  virtual void failed(int status, const std::string& message) = 0;
};

// The deadline of a request that comes in now.
inline std::chrono::steady_clock::time_point deadline_after(double seconds) {
  return std::chrono::steady_clock::now() +
         std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds));
}

struct GenerationTask {
  std::vector<int32_t> ids;  // of the prompt, at least one
  int64_t samples = 1;
  int64_t max_tokens = 0;
  SamplingSettings sampling;  // sample i draws its j-th token with uniform (seed, stream i, index j)
  double threshold = 0.5;     // p at which a token opens a concept
  std::vector<std::string> stops;
  bool ignore_end = false;
  bool score_prompt = false;
  std::optional<int64_t> likely_tokens;  // log-probabilities are wanted, with as many likely tokens
  bool prompt_concepts = false;          // boundaries of the prompt's tokens are wanted
  bool sample_concepts = false;          // boundaries of the sampled tokens are; each is told when it has been read
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  std::chrono::steady_clock::time_point submitted = std::chrono::steady_clock::now();
  std::shared_ptr<GenerationListener> listener;
  std::shared_ptr<std::atomic<bool>> cancel = std::make_shared<std::atomic<bool>>(false);  // may be set by anyone

  // Then nothing more is told.
  bool cancelled() const { return *cancel; }
  // Rows of keys and values that it may come to hold.
  int64_t most_tokens() const { return static_cast<int64_t>(ids.size()) + samples * max_tokens; }
};

}  // namespace dlcm
