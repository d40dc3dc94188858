// Continuous batching on a tiny model: the same tokens whoever is served beside, turns, limits, cancellation, reuse.
#include "dlcm/serve/scheduler.h"

#include "dlcm/infer/generate.h"
#include "dlcm/infer/score.h"
#include "dlcm/serve/api_error.h"
#include "dlcm/serve/prefix_cache.h"
#include "tests/infer/tiny_model.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

namespace dlcm {
namespace {

using namespace std::chrono_literals;

// Everything that is told of one prompt.
class Record : public GenerationListener {
 public:
  void prompt_read(PromptResult result) override {
    change([&] { prompt = std::move(result), has_prompt = true; });
    if (on_prompt) on_prompt();
  }
  void token_sampled(int64_t sample, SampledToken token) override {
    size_t count = 0;
    change([&] {
      auto& list = tokens[static_cast<size_t>(sample)];
      list.push_back(std::move(token));
      count = list.size();
    });
    if (on_token) on_token(count);
  }
  void sample_ended(int64_t sample, FinishReason reason, std::string text) override {
    change([&] {
      ends[static_cast<size_t>(sample)] = reason;
      rest[static_cast<size_t>(sample)] = std::move(text);
      ++ended;
    });
  }
  void failed(int status, const std::string& message) override {
    change([&] { failure = status, words = message; });
  }

  bool wait_for(const std::function<bool()>& condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 30s, condition);
  }
  bool wait_for_end(int64_t samples = 1) {
    return wait_for([&] { return ended == samples || failure != 0; });
  }
  std::vector<int32_t> ids(size_t sample = 0) const {
    std::vector<int32_t> found;
    for (const auto& token : tokens[sample]) found.push_back(token.id);
    return found;
  }
  std::string text(size_t sample = 0) const {
    std::string found;
    for (const auto& token : tokens[sample]) found += token.text;
    return found + rest[sample];
  }

  std::function<void()> on_prompt;  // in the scheduler's thread
  std::function<void(size_t)> on_token;
  std::mutex mutex;
  std::condition_variable changed;
  PromptResult prompt;
  bool has_prompt = false;
  std::array<std::vector<SampledToken>, 8> tokens;
  std::array<FinishReason, 8> ends{};
  std::array<std::string, 8> rest;
  int64_t ended = 0;
  int failure = 0;
  std::string words;

 private:
  void change(const std::function<void()>& action) {
    const std::lock_guard lock(mutex);
    action();
    changed.notify_all();
  }
};

struct Asked {
  std::shared_ptr<GenerationTask> task = std::make_shared<GenerationTask>();
  std::shared_ptr<Record> record = std::make_shared<Record>();
};

Asked asked(const Tokenizer& tokenizer, const std::string& text, int64_t max_tokens, uint64_t seed = 1) {
  Asked made;
  made.task->ids = document_ids(tokenizer, text);
  made.task->max_tokens = max_tokens;
  made.task->sampling.seed = seed;
  made.task->ignore_end = true;
  made.task->listener = made.record;
  return made;
}

std::string random_text(std::mt19937& random, size_t length) {
  std::string text;
  while (text.size() < length) text += static_cast<char>('a' + random() % 26);
  return text;
}

class SchedulerTest : public testing::TestWithParam<ModelKind> {
 protected:
  static test::TinyModel& model() {
    static auto dlcm_model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
    static auto llama_model = test::tiny_model(test::tiny_config(ModelKind::llama));
    return GetParam() == ModelKind::dlcm ? dlcm_model : llama_model;
  }
  static Asked ask(const std::string& text, int64_t max_tokens, uint64_t seed = 1) {
    return asked(*model().tokenizer, text, max_tokens, seed);
  }
};
INSTANTIATE_TEST_SUITE_P(Kinds, SchedulerTest, testing::Values(ModelKind::dlcm, ModelKind::llama),
                         [](const auto& kind) {
                           return std::string(kind.param == ModelKind::dlcm ? "dlcm" : "llama");
                         });

TEST_P(SchedulerTest, DrawsWhatGenerateDraws) {
  ServerMetrics metrics;
  Scheduler scheduler(model(), {}, metrics);
  for (const uint64_t seed : {1, 7}) {
    GenerateSettings settings;
    settings.max_tokens = 30;
    settings.sampling.seed = seed;
    const auto generation = generate(model(), "Once upon", settings);
    auto one = ask("Once upon", 30, seed);
    one.task->ignore_end = false;
    one.task->sample_concepts = GetParam() == ModelKind::dlcm;
    ASSERT_TRUE(scheduler.submit({one.task}));
    ASSERT_TRUE(one.record->wait_for_end());
    EXPECT_EQ(one.record->text(), generation.text);
    EXPECT_EQ(one.record->ends[0], generation.finish_reason);
    for (size_t i = 0; i < generation.tokens.size(); ++i) {
      const auto& token = one.record->tokens[0].at(i);
      EXPECT_EQ(token.id, generation.tokens[i].id);
      if (GetParam() != ModelKind::dlcm) continue;
      EXPECT_EQ(token.boundary, generation.tokens[i].boundary);
      EXPECT_EQ(*token.boundary_prob, static_cast<float>(generation.tokens[i].boundary_prob));
    }
  }
}

TEST_P(SchedulerTest, GivesTheSameBitsWhoeverIsServedBeside) {
  std::mt19937 random(11);
  std::vector<std::string> texts;
  for (int i = 0; i < 24; ++i) texts.push_back(random_text(random, random() % 150));
  const auto asked_all = [&] {
    std::vector<Asked> all;
    for (size_t i = 0; i < texts.size(); ++i) {
      all.push_back(ask(texts[i], 12, i));
      all.back().task->samples = 1 + static_cast<int64_t>(i % 3);
      all.back().task->likely_tokens = 2;
      all.back().task->score_prompt = i % 2 == 0;
    }
    return all;
  };
  const auto alone = asked_all(), together = asked_all();
  ServerMetrics metrics;
  {
    Scheduler scheduler(model(), {}, metrics);
    for (const auto& one : alone) {
      ASSERT_TRUE(scheduler.submit({one.task}));
      ASSERT_TRUE(one.record->wait_for_end(one.task->samples));
    }
  }
  Scheduler scheduler(model(), {.sequences = 40, .rows = 37, .rows_beside = 5}, metrics);
  std::vector<std::shared_ptr<GenerationTask>> tasks;
  for (const auto& one : together) tasks.push_back(one.task);
  ASSERT_TRUE(scheduler.submit(tasks));
  for (size_t i = 0; i < texts.size(); ++i) {
    ASSERT_TRUE(together[i].record->wait_for_end(together[i].task->samples));
    ASSERT_EQ(together[i].record->failure, 0) << together[i].record->words;
    for (size_t sample = 0; sample < static_cast<size_t>(together[i].task->samples); ++sample) {
      ASSERT_EQ(alone[i].record->ids(sample), together[i].record->ids(sample)) << i << " sample " << sample;
      for (size_t t = 0; t < 12; ++t) {
        EXPECT_EQ(alone[i].record->tokens[sample][t].score->logprob,
                  together[i].record->tokens[sample][t].score->logprob);
      }
    }
    const auto& scores = alone[i].record->prompt.scores;
    ASSERT_EQ(scores.size(), together[i].record->prompt.scores.size());
    for (size_t t = 0; t < scores.size(); ++t) {
      EXPECT_EQ(scores[t].logprob, together[i].record->prompt.scores[t].logprob);
    }
  }
}

TEST_P(SchedulerTest, SamplesOfOnePromptDiffer) {
  ServerMetrics metrics;
  Scheduler scheduler(model(), {}, metrics);
  auto one = ask("Once", 20);
  one.task->samples = 3;
  ASSERT_TRUE(scheduler.submit({one.task}));
  ASSERT_TRUE(one.record->wait_for_end(3));
  EXPECT_NE(one.record->ids(0), one.record->ids(1));
  EXPECT_NE(one.record->ids(1), one.record->ids(2));
  EXPECT_EQ(metrics.prompt_tokens, 5) << "the prompt is read once";
}

TEST_P(SchedulerTest, ScoresAPromptAsScoreDoes) {
  ServerMetrics metrics;
  Scheduler scheduler(model(), {.rows = 7}, metrics);
  const std::string text = "It was the best of times.";
  auto one = ask(text, 0);
  one.task->score_prompt = true;
  one.task->likely_tokens = 1;
  one.task->prompt_concepts = true;
  ASSERT_TRUE(scheduler.submit({one.task}));
  ASSERT_TRUE(one.record->wait_for_end());
  EXPECT_EQ(one.record->ends[0], FinishReason::length);
  const auto document = score(model(), {text}, 0.5).front();
  const auto& result = one.record->prompt;
  ASSERT_EQ(result.scores.size(), document.ids.size() - 1);
  for (size_t i = 1; i < document.ids.size(); ++i) {
    EXPECT_EQ(result.scores[i - 1].logprob, document.logprobs[i]);
    EXPECT_EQ(result.scores[i - 1].greedy, document.greedy[i]);
    if (result.scores[i - 1].greedy) {
      EXPECT_EQ(result.scores[i - 1].likely.at(0).logprob, result.scores[i - 1].logprob);
    }
  }
  EXPECT_EQ(std::vector<double>(result.read.boundary_prob.begin(), result.read.boundary_prob.end()),
            document.boundary_prob);
  EXPECT_EQ(result.concepts, document.concepts());
}

TEST_P(SchedulerTest, StopsAtStopStringsAndAtTheEnd) {
  ServerMetrics metrics;
  Scheduler scheduler(model(), {}, metrics);
  auto whole = ask("Once", 40);
  ASSERT_TRUE(scheduler.submit({whole.task}));
  ASSERT_TRUE(whole.record->wait_for_end());
  EXPECT_EQ(whole.record->ends[0], FinishReason::length);
  const auto text = whole.record->text();
  ASSERT_GE(text.size(), 20u);
  auto stopped = ask("Once", 40);
  stopped.task->stops = {text.substr(10, 3)};
  ASSERT_TRUE(scheduler.submit({stopped.task}));
  ASSERT_TRUE(stopped.record->wait_for_end());
  EXPECT_EQ(stopped.record->ends[0], FinishReason::stop);
  EXPECT_EQ(stopped.record->text(), text.substr(0, text.find(text.substr(10, 3))));
  EXPECT_LT(stopped.record->ids().size(), 40u);
}

TEST_P(SchedulerTest, ALongPromptDoesNotStallASampleBeside) {
  ServerMetrics metrics;
  Scheduler scheduler(model(), {.rows_beside = 4}, metrics);
  auto sample = ask("Once", 2000);
  std::mt19937 random(1);
  auto prompt = ask(random_text(random, 399), 1);
  size_t at_submission = 0, at_read = 0;
  std::atomic<size_t> tokens{0};
  sample.record->on_token = [&](size_t count) { tokens = count; };
  prompt.record->on_prompt = [&] { at_read = tokens; };
  ASSERT_TRUE(scheduler.submit({sample.task}));
  ASSERT_TRUE(sample.record->wait_for([&] { return sample.record->tokens[0].size() > 5; }));
  at_submission = tokens;
  ASSERT_TRUE(scheduler.submit({prompt.task}));
  ASSERT_TRUE(prompt.record->wait_for_end());
  // 400 ids in pieces of 4: a token of the sample with each of them.
  EXPECT_GE(at_read - at_submission, 98u);
  *sample.task->cancel = true;
}

TEST_P(SchedulerTest, PromptsTakeTurns) {
  ServerMetrics metrics;
  Scheduler scheduler(model(), {.rows = 4}, metrics);
  std::mt19937 random(1);
  auto lengthy = ask(random_text(random, 2000), 1), brief = ask("Once", 1);
  ASSERT_TRUE(scheduler.submit({lengthy.task}));
  ASSERT_TRUE(scheduler.submit({brief.task}));
  ASSERT_TRUE(brief.record->wait_for_end());
  {
    const std::lock_guard lock(lengthy.record->mutex);
    EXPECT_FALSE(lengthy.record->has_prompt);
  }
  ASSERT_TRUE(lengthy.record->wait_for_end());
}

TEST_P(SchedulerTest, ACancelledPromptMakesRoom) {
  ServerMetrics metrics;
  Scheduler scheduler(model(), {.sequences = 1}, metrics);
  auto first = ask("Once", 60000), second = ask("Once", 3);
  ASSERT_TRUE(scheduler.submit({first.task}));
  ASSERT_TRUE(first.record->wait_for([&] { return !first.record->tokens[0].empty(); }));
  ASSERT_TRUE(scheduler.submit({second.task}));
  EXPECT_EQ(scheduler.at_work(), 1);
  *first.task->cancel = true;
  ASSERT_TRUE(second.record->wait_for_end());
  EXPECT_EQ(second.record->failure, 0);
  EXPECT_EQ(first.record->ended, 0);
  EXPECT_EQ(first.record->failure, 0);
  EXPECT_EQ(metrics.cancelled, 1);
}

TEST_P(SchedulerTest, RefusesWhatTheQueueAndTheCachesCannotHold) {
  ServerMetrics metrics;
  Scheduler scheduler(model(), {.waiting = 2, .sequences = 1, .cached_tokens = 1000}, metrics);
  EXPECT_THROW(scheduler.submit({ask("Once", 1000).task}), ApiError);
  auto first = ask("Once", 900);
  ASSERT_TRUE(scheduler.submit({first.task}));
  ASSERT_TRUE(first.record->wait_for([&] { return first.record->has_prompt; }));
  EXPECT_FALSE(scheduler.submit({ask("a", 1).task, ask("b", 1).task, ask("c", 1).task})) << "all or none";
  EXPECT_EQ(scheduler.waiting(), 0);
  EXPECT_TRUE(scheduler.submit({ask("a", 1).task, ask("b", 1).task}));
  EXPECT_FALSE(scheduler.submit({ask("c", 1).task}));
}

TEST_P(SchedulerTest, FailsWhatTakesTooLong) {
  ServerMetrics metrics;
  Scheduler scheduler(model(), {.sequences = 1}, metrics);
  auto first = ask("Once", 60000), second = ask("Once", 3);
  first.task->deadline = deadline_after(0.05);
  second.task->deadline = deadline_after(0.01);
  ASSERT_TRUE(scheduler.submit({first.task}));
  ASSERT_TRUE(scheduler.submit({second.task}));
  ASSERT_TRUE(first.record->wait_for_end());
  ASSERT_TRUE(second.record->wait_for_end());
  EXPECT_EQ(first.record->failure, 504);
  EXPECT_EQ(second.record->failure, 504);
}

TEST_P(SchedulerTest, TellsAllWhenItStops) {
  ServerMetrics metrics;
  Scheduler scheduler(model(), {.sequences = 1}, metrics);
  auto first = ask("Once", 60000), second = ask("Once", 3);
  ASSERT_TRUE(scheduler.submit({first.task}));
  ASSERT_TRUE(scheduler.submit({second.task}));
  scheduler.stop();
  EXPECT_EQ(first.record->failure, 503);
  EXPECT_EQ(second.record->failure, 503);
  EXPECT_FALSE(scheduler.submit({ask("a", 1).task}));
}

TEST_P(SchedulerTest, ReadsACommonBeginningOnce) {
  ServerMetrics metrics;
  Scheduler scheduler(model(), {}, metrics);
  const std::string beginning = "All of these texts begin with the same words: ";
  std::vector<std::vector<int32_t>> ids;
  for (const auto* end : {"one", "two", "three", "three", "three"}) {
    auto one = ask(beginning + end, 5);
    ASSERT_TRUE(scheduler.submit({one.task}));
    ASSERT_TRUE(one.record->wait_for_end());
    ids.push_back(one.record->ids());
    // A beginning is kept when it comes the second time; the last token is always read.
    const auto kept = 1 + static_cast<int64_t>(beginning.size());
    const std::vector<int64_t> reused{0, 0, kept, kept + 1, kept + 4};
    EXPECT_EQ(one.record->prompt.reused_tokens, reused[ids.size() - 1]) << end;
  }
  EXPECT_EQ(ids[2], ids[3]);
  EXPECT_EQ(ids[2], ids[4]);
  // A dialogue goes on from the text that was generated.
  auto first = ask(beginning, 20);
  ASSERT_TRUE(scheduler.submit({first.task}));
  ASSERT_TRUE(first.record->wait_for_end());
  auto second = ask("", 5);
  second.task->ids = first.task->ids;
  const auto answer = first.record->ids();
  second.task->ids.insert(second.task->ids.end(), answer.begin(), answer.end());
  second.task->ids.push_back('x');
  auto fresh = ask("", 5);
  fresh.task->ids = second.task->ids;
  ASSERT_TRUE(scheduler.submit({second.task}));
  ASSERT_TRUE(second.record->wait_for_end());
  EXPECT_EQ(second.record->prompt.reused_tokens, static_cast<int64_t>(first.task->ids.size()) + 19);
  ServerMetrics other_metrics;
  Scheduler other(model(), {}, other_metrics);
  ASSERT_TRUE(other.submit({fresh.task}));
  ASSERT_TRUE(fresh.record->wait_for_end());
  EXPECT_EQ(fresh.record->ids(), second.record->ids()) << "reuse changes nothing";
}

TEST(PrefixCache, KeepsTheLastUsedWithinItsBounds) {
  auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  PrefixCache cache(100);
  const auto ids = [](int32_t first, size_t count) { return std::vector<int32_t>(count, first); };
  const auto insert = [&](int32_t first, size_t count, double threshold = 0.5) {
    cache.insert({ids(first, count), threshold, model.engine().new_sequence()});
  };
  insert(1, 5);
  EXPECT_EQ(cache.tokens(), 0) << "too short";
  insert(1, 101);
  EXPECT_EQ(cache.tokens(), 0) << "too long";
  insert(1, 40);
  insert(1, 40);
  EXPECT_EQ(cache.tokens(), 40) << "once";
  insert(2, 40);
  EXPECT_EQ(cache.find(ids(1, 40), 0.5), nullptr) << "one id must be left to be read";
  EXPECT_EQ(cache.find(ids(1, 41), 0.4), nullptr) << "another cut";
  ASSERT_NE(cache.find(ids(1, 41), 0.5), nullptr);
  insert(3, 40);
  EXPECT_EQ(cache.tokens(), 80);
  EXPECT_EQ(cache.find(ids(2, 41), 0.5), nullptr) << "the least recently used went";
  EXPECT_NE(cache.find(ids(1, 41), 0.5), nullptr);
  EXPECT_NE(cache.find(ids(3, 41), 0.5), nullptr);
}

}  // namespace
}  // namespace dlcm
