#include "dlcm/serve/scheduler.h"

#include "dlcm/ops/uniform.h"
#include "dlcm/serve/api_error.h"
#include "dlcm/serve/prefix_cache.h"
#include "dlcm/serve/stop_strings.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>
#include <utility>

namespace dlcm {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

struct Scheduler::Sample {
  explicit Sample(std::vector<std::string> stop_strings) : stops(std::move(stop_strings)) {}

  int64_t index = 0;
  std::unique_ptr<Sequence> sequence;
  StopStrings stops;
  int64_t drawn = 0;
  std::vector<int32_t> read;           // of what was drawn
  std::optional<int32_t> pending;      // drawn and to be read in the next step
  std::optional<SampledToken> untold;  // the pending one, where it is told when it has been read
  std::optional<FinishReason> end;     // behind the last token
  bool ended = false;
  Clock::time_point last_token;
};

struct Scheduler::Running {
  std::shared_ptr<GenerationTask> generation;
  std::unique_ptr<Sequence> sequence;  // of the prompt while it is read
  int64_t position = 0;                // ids of the prompt that are read
  int64_t keep_at = 0;                 // where the prompt's sequence is forked for others
  PromptResult result;
  std::vector<Sample> samples;
  bool ended = false;

  const GenerationTask& work() const { return *generation; }
  int64_t prompt_tokens() const { return static_cast<int64_t>(generation->ids.size()); }
  bool reading_prompt() const { return position < prompt_tokens(); }
};

// What one step of the engine reads, and for whom.
struct Scheduler::StepPlan {
  struct Part {
    Running* running;
    Sample* sample;  // null for a piece of a prompt
  };
  std::vector<EngineWork> works;
  std::vector<Part> parts;
  std::deque<std::vector<TokenQuery>> queries;  // which the works point to
};

Scheduler::Scheduler(Engine& engine, const SchedulerLimits& limits, ServerMetrics& metrics)
    : engine_(engine),
      limits_(limits),
      metrics_(metrics),
      prefixes_(std::make_unique<PrefixCache>(limits.cached_tokens)),
      thread_([this] { loop(); }) {}

Scheduler::~Scheduler() { stop(); }

void Scheduler::stop() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

bool Scheduler::submit(std::vector<std::shared_ptr<GenerationTask>> generations) {
  for (const auto& generation : generations) {
    if (generation->most_tokens() > limits_.cached_tokens) {
      throw bad_request("max_tokens", "expected a prompt and n times max_tokens of at most {} tokens, found {}",
                        limits_.cached_tokens, generation->most_tokens());
    }
  }
  {
    const std::lock_guard lock(mutex_);
    if (num_waiting_ + static_cast<int64_t>(generations.size()) > limits_.waiting || ending_) return false;
    num_waiting_ += static_cast<int64_t>(generations.size());
    waiting_.emplace_back(generations.begin(), generations.end());
  }
  changed_.notify_one();
  return true;
}

int64_t Scheduler::waiting() const {
  const std::lock_guard lock(mutex_);
  return num_waiting_;
}

void Scheduler::loop() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return ending_ || num_waiting_ > 0 || !running_.empty(); });
      if (ending_) break;
    }
    drop_gone();
    admit();
    auto planned = plan();
    if (!planned.works.empty()) step(planned);
    remove_ended();
  }
  for (auto& running : running_) fail(*running, 503, "the server stops: try again later");
  for (auto& batch : waiting_) {
    for (auto& generation : batch) generation->listener->failed(503, "the server stops: try again later");
  }
}

// Those whose client left or whose time is over, at work or waiting.
void Scheduler::drop_gone() {
  const auto now = Clock::now();
  constexpr std::string_view kTimeOver = "the request took longer than a request may: ask for fewer tokens";
  for (auto& running : running_) {
    if (running->work().cancelled()) {
      running->ended = true;
      ++metrics_.cancelled;
    } else if (running->work().deadline < now) {
      fail(*running, 504, std::string(kTimeOver));
    }
  }
  remove_ended();
  std::vector<std::shared_ptr<GenerationTask>> late;
  {
    const std::lock_guard lock(mutex_);
    for (auto& batch : waiting_) {
      std::erase_if(batch, [&](const std::shared_ptr<GenerationTask>& generation) {
        if (!generation->cancelled() && generation->deadline >= now) return false;
        if (generation->cancelled()) {
          ++metrics_.cancelled;
        } else {
          late.push_back(generation);
        }
        --num_waiting_;
        return true;
      });
    }
    std::erase_if(waiting_, [](const auto& batch) { return batch.empty(); });
  }
  for (const auto& generation : late) generation->listener->failed(504, std::string(kTimeOver));
}

void Scheduler::remove_ended() {
  std::erase_if(running_, [&](const std::unique_ptr<Running>& running) {
    if (!running->ended) return false;
    held_tokens_ -= running->work().most_tokens();
    held_sequences_ -= running->work().samples;
    return true;
  });
  at_work_ = static_cast<int64_t>(running_.size());
}

// Takes what waits while there is room. Requests of many prompts take turns with others.
void Scheduler::admit() {
  for (;;) {
    std::shared_ptr<GenerationTask> next;
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.empty()) return;
      const auto& front = waiting_.front().front();
      const bool fits = held_tokens_ + front->most_tokens() <= limits_.cached_tokens &&
                        held_sequences_ + front->samples <= limits_.sequences;
      if (!fits && !running_.empty()) return;
      next = front;
      auto batch = std::move(waiting_.front());
      waiting_.pop_front();
      batch.pop_front();
      if (!batch.empty()) waiting_.push_back(std::move(batch));
      --num_waiting_;
    }
    begin(std::move(next));
  }
}

void Scheduler::begin(std::shared_ptr<GenerationTask> generation) {
  auto running = std::make_unique<Running>();
  running->generation = std::move(generation);
  const auto& work = running->work();
  // A prompt whose every token is asked for is read from its first one.
  if (!work.score_prompt && !work.prompt_concepts) {
    const auto shared = prefixes_->note(work.ids);
    if (const auto* entry = prefixes_->find(work.ids, work.threshold)) {
      running->sequence = entry->sequence->fork();
      running->position = static_cast<int64_t>(entry->ids.size());
      running->result.reused_tokens = running->position;
      metrics_.reused_tokens += running->position;
    }
    if (shared > running->position) running->keep_at = shared;
  }
  if (!running->sequence) running->sequence = engine_.new_sequence();
  held_tokens_ += work.most_tokens();
  held_sequences_ += work.samples;
  running_.push_back(std::move(running));
  at_work_ = static_cast<int64_t>(running_.size());
}

Scheduler::StepPlan Scheduler::plan() {
  StepPlan plan;
  for (auto& running : running_) {
    for (auto& sample : running->samples) {
      if (!sample.pending) continue;
      plan.parts.push_back({running.get(), &sample});
      plan.works.push_back({.sequence = sample.sequence.get(),
                            .ids = std::span<const int32_t>(&*sample.pending, 1),
                            .threshold = running->work().threshold,
                            .logits = sample.end ? LogitsWanted::none : LogitsWanted::last});
    }
  }
  int64_t rows = plan.works.empty() ? limits_.rows : limits_.rows_beside;
  const size_t first = running_.empty() ? 0 : turn_++ % running_.size();
  for (size_t i = 0; i < running_.size() && rows > 0; ++i) {
    auto& running = *running_[(first + i) % running_.size()];
    if (running.reading_prompt()) rows -= add_prompt(plan, running, rows);
  }
  return plan;
}

// The next piece of a prompt, of at most `rows` ids; returns how many.
int64_t Scheduler::add_prompt(StepPlan& plan, Running& running, int64_t rows) {
  const auto& work = running.work();
  const int64_t stop = running.keep_at > running.position ? running.keep_at : running.prompt_tokens();
  const int64_t count = std::min(rows, stop - running.position);
  const bool last = running.position + count == running.prompt_tokens();
  EngineWork piece{
      .sequence = running.sequence.get(),
      .ids = std::span(work.ids).subspan(static_cast<size_t>(running.position), static_cast<size_t>(count)),
      .threshold = work.threshold,
      .logits = last && work.max_tokens > 0 ? LogitsWanted::last : LogitsWanted::none};
  if (work.score_prompt) {
    auto& queries = plan.queries.emplace_back();
    for (int64_t row = 0; row < count && running.position + row + 1 < running.prompt_tokens(); ++row) {
      queries.push_back({row, work.ids[static_cast<size_t>(running.position + row + 1)]});
    }
    piece.queries = queries;
    piece.likely = work.likely_tokens.value_or(0);
  }
  plan.parts.push_back({&running, nullptr});
  plan.works.push_back(piece);
  return count;
}

void Scheduler::step(StepPlan& plan) {
  std::vector<EngineResult> results;
  try {
    results = engine_.step(plan.works);
  } catch (const std::exception& error) {
    for (const auto& part : plan.parts) fail(*part.running, 500, fmt::format("the engine failed: {}", error.what()));
    return;
  }
  ++metrics_.steps;
  for (size_t i = 0; i < results.size(); ++i) {
    auto& running = *plan.parts[i].running;
    const auto count = static_cast<int64_t>(plan.works[i].ids.size());
    metrics_.read_tokens += count;
    metrics_.concepts += std::count(results[i].boundary.begin(), results[i].boundary.end(), 1);
    if (running.ended) continue;  // another part of it failed
    try {
      if (plan.parts[i].sample == nullptr) {
        prompt_advanced(running, results[i], count);
      } else {
        sample_advanced(running, *plan.parts[i].sample, results[i]);
      }
    } catch (const std::exception& error) {
      fail(running, 500, error.what());
    }
  }
}

void Scheduler::prompt_advanced(Running& running, EngineResult& result, int64_t count) {
  const auto& work = running.work();
  running.position += count;
  metrics_.prompt_tokens += count;
  std::move(result.scores.begin(), result.scores.end(), std::back_inserter(running.result.scores));
  if (work.prompt_concepts) {
    auto& read = running.result.read;
    read.boundary_prob.insert(read.boundary_prob.end(), result.boundary_prob.begin(), result.boundary_prob.end());
    read.boundary.insert(read.boundary.end(), result.boundary.begin(), result.boundary.end());
  }
  if (running.position == running.keep_at) {
    prefixes_->insert(
        {{work.ids.begin(), work.ids.begin() + running.position}, work.threshold, running.sequence->fork()});
  }
  if (!running.reading_prompt()) prompt_finished(running, result.logits);
}

void Scheduler::prompt_finished(Running& running, std::span<const float> logits) {
  const auto& work = running.work();
  running.result.concepts = running.sequence->concepts();
  work.listener->prompt_read(std::move(running.result));
  for (int64_t i = 0; i < work.samples; ++i) {
    auto& sample = running.samples.emplace_back(work.stops);
    sample.index = i;
    sample.sequence = i + 1 < work.samples ? running.sequence->fork() : std::move(running.sequence);
  }
  for (auto& sample : running.samples) {
    if (work.max_tokens > 0) {
      draw(running, sample, logits);
    } else {
      sample.end = FinishReason::length;
      finish(running, sample);
    }
  }
}

void Scheduler::sample_advanced(Running& running, Sample& sample, EngineResult& result) {
  sample.read.push_back(*std::exchange(sample.pending, std::nullopt));
  if (sample.untold) {
    if (!result.boundary.empty()) {
      sample.untold->boundary_prob = result.boundary_prob.front();
      sample.untold->boundary = result.boundary.front() != 0;
    }
    running.work().listener->token_sampled(sample.index, *std::exchange(sample.untold, std::nullopt));
  }
  if (sample.end) return finish(running, sample);
  draw(running, sample, result.logits);
}

void Scheduler::draw(Running& running, Sample& sample, std::span<const float> logits) {
  const auto& work = running.work();
  const auto& tokenizer = *engine_.model().tokenizer;
  const double uniform = uniform_draw(work.sampling.seed, DrawUse::sampling, static_cast<uint64_t>(sample.index),
                                      static_cast<uint64_t>(sample.drawn));
  // A model may have more rows than its tokenizer has ids.
  const auto known = logits.first(static_cast<size_t>(tokenizer.vocabulary()));
  SampledToken token;
  token.id = dlcm::sample(known, work.sampling, uniform);
  if (work.likely_tokens) token.score = LogProbabilities(logits).score(token.id, *work.likely_tokens);
  note_time(work, sample);
  ++sample.drawn;
  ++metrics_.generated_tokens;
  const bool end_of_text = token.id == tokenizer.end_of_text() && !work.ignore_end;
  if (!end_of_text) token.text = sample.stops.push(tokenizer.piece(token.id));
  if (end_of_text || sample.stops.stopped()) {
    sample.end = FinishReason::stop;
  } else if (sample.drawn == work.max_tokens) {
    sample.end = FinishReason::length;
  }
  const bool to_be_read = !end_of_text && (!sample.end || work.sample_concepts);
  if (to_be_read) sample.pending = token.id;
  if (to_be_read && work.sample_concepts) {
    sample.untold = std::move(token);
    return;
  }
  work.listener->token_sampled(sample.index, std::move(token));
  if (sample.end) finish(running, sample);
}

void Scheduler::note_time(const GenerationTask& work, Sample& sample) {
  const auto now = Clock::now();
  if (sample.drawn == 0) {
    metrics_.first_token_seconds.add(seconds_between(work.submitted, now));
  } else {
    metrics_.token_seconds.add(seconds_between(sample.last_token, now));
  }
  sample.last_token = now;
}

void Scheduler::finish(Running& running, Sample& sample) {
  const auto& work = running.work();
  work.listener->sample_ended(sample.index, *sample.end, sample.stops.finish());
  sample.ended = true;
  if (!work.score_prompt && !work.prompt_concepts) {
    auto ids = work.ids;
    ids.insert(ids.end(), sample.read.begin(), sample.read.end());
    prefixes_->insert({std::move(ids), work.threshold, std::move(sample.sequence)});
  }
  sample.sequence.reset();
  running.ended =
      std::all_of(running.samples.begin(), running.samples.end(), [](const Sample& other) { return other.ended; });
}

void Scheduler::fail(Running& running, int status, const std::string& message) {
  if (std::exchange(running.ended, true)) return;
  if (!running.work().cancelled()) running.work().listener->failed(status, message);
}

}  // namespace dlcm
