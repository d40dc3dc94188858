// Continuous batching: one thread that owns the engine and reads, step by step, rows of all prompts and samples at
// work.
//
// A step holds the next token of every sample and pieces of prompts, as many rows as a step may have: a long prompt
// delays the samples beside it by one piece at a time, and prompts take turns. Draws depend on the request alone, and
// the engine's rows on their own sequence, so what a client gets does not depend on who else is served.
#pragma once

#include "dlcm/infer/engine.h"
#include "dlcm/serve/generation_task.h"
#include "dlcm/serve/metrics.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace dlcm {

struct SchedulerLimits {
  int64_t waiting = 2048;         // prompts that have not begun
  int64_t sequences = 64;         // samples and prompts at work
  int64_t cached_tokens = 65536;  // that all sequences at work may come to hold; as many more are kept for reuse
  int64_t rows = 512;             // of prompts in a step
  int64_t rows_beside = 128;      // the same where samples are waiting for their next token
};

class Scheduler {
 public:
  Scheduler(Engine& engine, const SchedulerLimits& limits, ServerMetrics& metrics);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Takes all of them or, where the queue is full, none: then false. Throws ApiError (400) where one needs more cached
  // tokens than there are.
  bool submit(std::vector<std::shared_ptr<GenerationTask>> generations);

  // Fails what is under way and takes nothing more.
  void stop();

  int64_t waiting() const;
  int64_t at_work() const { return at_work_; }  // prompts

 private:
  struct Sample;
  struct Running;
  struct StepPlan;

  void loop();
  void drop_gone();
  void remove_ended();
  void admit();
  void begin(std::shared_ptr<GenerationTask> generation);
  StepPlan plan();
  int64_t add_prompt(StepPlan& plan, Running& running, int64_t rows);
  void step(StepPlan& plan);
  void prompt_advanced(Running& running, EngineResult& result, int64_t count);
  void prompt_finished(Running& running, std::span<const float> logits);
  void sample_advanced(Running& running, Sample& sample, EngineResult& result);
  void draw(Running& running, Sample& sample, std::span<const float> logits);
  void note_time(const GenerationTask& work, Sample& sample);
  void finish(Running& running, Sample& sample);
  void fail(Running& running, int status, const std::string& message);

  Engine& engine_;
  SchedulerLimits limits_;
  ServerMetrics& metrics_;
  std::unique_ptr<class PrefixCache> prefixes_;
  std::vector<std::unique_ptr<Running>> running_;
  size_t turn_ = 0;  // of the prompt that is read first in the next step
  int64_t held_tokens_ = 0, held_sequences_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::deque<std::shared_ptr<GenerationTask>>> waiting_;  // one batch a request, none empty
  int64_t num_waiting_ = 0;
  std::atomic<int64_t> at_work_{0};
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace dlcm
