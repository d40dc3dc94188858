// The engine against LibTorch's full pass, and against itself: the same text gives the same bits whatever the batch it
// sits in, the number of threads and the split of its ids over steps.
#include "dlcm/infer/engine.h"

#include "dlcm/util/error.h"
#include "tests/infer/tiny_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace dlcm {
namespace {

// Logits of these models are of the order of 1; both sides round in float.
constexpr double kTolerance = 2e-4;
// Scores this close to the threshold may be rounded to either side: then the decision is handed over.
constexpr double kTooClose = 1e-5;

struct Case {
  std::string name;
  Config config;
};

std::vector<Case> cases() {
  const auto llama = test::tiny_config(ModelKind::llama);
  std::vector<Case> all{{"llama", llama}, {"llama_beyond_the_paper", test::beyond_the_paper(llama, 20)}};
  for (const auto rule : test::kBoundaryRules) {
    for (const auto smoothing : {SmoothingKind::identity, SmoothingKind::moving_average}) {
      for (const auto reading :
           {CrossAttentionReading::plain, CrossAttentionReading::replicated, CrossAttentionReading::replication}) {
        for (const int64_t layers : {0, 2}) {
          auto config = test::tiny_config(ModelKind::dlcm);
          config.parser.rule = rule;
          config.parser.cosine_threshold = 0.5;
          config.smoothing.kind = smoothing;
          config.model.cross_attention = reading;
          config.model.concepts.layers = layers;
          const auto name =
              fmt::format("{}_{}_{}_{}_concept_layers", name_of(rule), name_of(smoothing), name_of(reading), layers);
          all.push_back({name, config});
          if (rule == BoundaryRule::learned) {
            all.push_back({name + "_beyond_the_paper", test::beyond_the_paper(config, 20)});
          }
        }
      }
    }
  }
  return all;
}

struct Reading {
  std::vector<float> boundary_prob;
  std::vector<uint8_t> boundary;
  std::vector<float> logits;

  void add(const EngineResult& result) {
    boundary_prob.insert(boundary_prob.end(), result.boundary_prob.begin(), result.boundary_prob.end());
    boundary.insert(boundary.end(), result.boundary.begin(), result.boundary.end());
    logits.insert(logits.end(), result.logits.begin(), result.logits.end());
  }
  bool operator==(const Reading&) const = default;
};

class EngineOf : public testing::TestWithParam<Case> {
 protected:
  static constexpr size_t kLengths[] = {157, 1, 33, 64};

  EngineOf() : reference_(test::tiny_model(GetParam().config)), engine_(reference_.packed(), {.threads = 1}) {
    for (const size_t length : kLengths) {
      auto& text = texts_.emplace_back();
      for (size_t i = 0; i < length; ++i) text.push_back(std::uniform_int_distribution<int32_t>(0, 255)(random_));
    }
    set_threshold();
  }

  // The median score, so that the learned rule cuts.
  void set_threshold() {
    if (GetParam().config.parser.rule != BoundaryRule::learned || GetParam().config.model.kind != ModelKind::dlcm)
      return;
    auto p = read_alone(engine_, texts_[0]).boundary_prob;
    std::nth_element(p.begin(), p.begin() + static_cast<int64_t>(p.size() / 2), p.end());
    threshold_ = p[p.size() / 2];
  }

  EngineWork work(Sequence& sequence, std::span<const int32_t> ids) const {
    return {.sequence = &sequence, .ids = ids, .threshold = threshold_, .logits = LogitsWanted::all};
  }

  Reading read_alone(Engine& engine, const std::vector<int32_t>& text) const {
    const auto sequence = engine.new_sequence();
    Reading reading;
    reading.add(engine.step(work(*sequence, text)));
    return reading;
  }

  // Reads all texts in rounds; `next` says how many ids of a text come in a round, given how many are left.
  template <typename Next>
  std::vector<Reading> read_in_rounds(Engine& engine, Next next) const {
    std::vector<Reading> readings(texts_.size());
    std::vector<std::unique_ptr<Sequence>> sequences;
    for (size_t text = 0; text < texts_.size(); ++text) sequences.push_back(engine.new_sequence());
    for (bool reading = true; reading;) {
      reading = false;
      std::vector<EngineWork> works;
      std::vector<size_t> texts;
      for (size_t text = 0; text < texts_.size(); ++text) {
        const auto done = static_cast<size_t>(sequences[text]->length()), left = texts_[text].size() - done;
        const size_t count = left == 0 ? 0 : std::min<size_t>(left, next(text, left));
        reading = reading || left > count;
        if (count == 0) continue;
        works.push_back(work(*sequences[text], std::span(texts_[text]).subspan(done, count)));
        texts.push_back(text);
      }
      const auto results = engine.step(works);
      for (size_t i = 0; i < results.size(); ++i) readings[texts[i]].add(results[i]);
    }
    return readings;
  }

  template <typename Next>
  void expect_the_same_bits(Engine& engine, Next next) {
    const auto readings = read_in_rounds(engine, next);
    for (size_t text = 0; text < texts_.size(); ++text) {
      EXPECT_TRUE(readings[text] == read_alone(engine_, texts_[text])) << "text " << text;
    }
  }

  std::mt19937_64 random_{20240611};
  test::TinyModel reference_;
  Engine engine_;
  std::vector<std::vector<int32_t>> texts_;
  double threshold_ = 0.5;
};

TEST_P(EngineOf, LogitsAndBoundariesAreThoseOfTheFullPass) {
  const at::NoGradGuard no_gradient;
  for (const auto& text : texts_) {
    Batch batch;
    batch.token_T = at::tensor(std::vector<int64_t>(text.begin(), text.end()), at::kLong);
    batch.documents = Documents::from_offsets({0, static_cast<int64_t>(text.size())});
    auto full = reference_.model->forward(batch, Decision::evaluation(threshold_));
    const auto sequence = engine_.new_sequence();
    auto asked = work(*sequence, text);
    std::vector<uint8_t> forced;
    if (full.cut && (full.cut->p_T - threshold_).abs().lt(kTooClose).any().item<bool>()) {
      for (size_t t = 0; t < text.size(); ++t) {
        forced.push_back(full.cut->boundary_T[static_cast<int64_t>(t)].item<bool>() ? 1 : 0);
      }
      asked.forced = forced;
    }
    const auto result = engine_.step(asked);
    const auto expected = reference_.model->logits(full.y_TD).contiguous();
    ASSERT_EQ(result.logits.size(), static_cast<size_t>(expected.numel()));
    double largest = 0.0;
    for (size_t i = 0; i < result.logits.size(); ++i) {
      largest =
          std::max(largest, std::abs(static_cast<double>(result.logits[i] - expected.const_data_ptr<float>()[i])));
    }
    EXPECT_LT(largest, kTolerance) << text.size() << " ids";
    ASSERT_EQ(result.boundary.empty(), !full.cut.has_value());
    for (size_t t = 0; full.cut && t < text.size(); ++t) {
      EXPECT_EQ(result.boundary[t] != 0, full.cut->boundary_T[static_cast<int64_t>(t)].item<bool>()) << t;
      EXPECT_NEAR(result.boundary_prob[t], full.cut->p_T[static_cast<int64_t>(t)].item<double>(), 1e-5) << t;
    }
  }
}

TEST_P(EngineOf, ModelIsNotTrivial) {
  const auto reading = read_alone(engine_, texts_[0]);
  const auto [least, most] = std::minmax_element(reading.logits.begin(), reading.logits.end());
  EXPECT_GT(*most - *least, 0.5f);
  if (reading.boundary.empty()) return;
  const auto concepts = std::count(reading.boundary.begin(), reading.boundary.end(), 1);
  EXPECT_GT(concepts, 8);
  EXPECT_LT(concepts, 150);
}

TEST_P(EngineOf, TokenByTokenGivesTheSameBits) {
  expect_the_same_bits(engine_, [](size_t, size_t) { return size_t{1}; });
}

TEST_P(EngineOf, SideBySideGivesTheSameBits) {
  expect_the_same_bits(engine_, [](size_t, size_t left) { return left; });
}

TEST_P(EngineOf, AnyMixSplitAndNumberOfThreadsGivesTheSameBits) {
  for (const int64_t threads : {1, 2, 3, 8}) {
    Engine engine(reference_.packed(), {.threads = threads});
    expect_the_same_bits(engine, [&](size_t, size_t left) -> size_t {
      const int kind = std::uniform_int_distribution<int>(0, 3)(random_);
      if (kind == 0) return 0;  // sits this round out
      if (kind == 1) return 1;
      return std::uniform_int_distribution<size_t>(1, left)(random_);
    });
  }
}

TEST_P(EngineOf, ForkGoesOnAsItsOriginalWould) {
  const auto& text = texts_[0];
  const auto whole = read_alone(engine_, text);
  const size_t vocabulary = static_cast<size_t>(engine_.vocabulary());
  const auto original = engine_.new_sequence();
  for (const size_t cut : {20u, 64u, 100u}) {
    const auto done = static_cast<size_t>(original->length());
    engine_.step(work(*original, std::span(text).subspan(done, cut - done)));
    const auto fork = original->fork(), other = original->fork();
    // What one fork reads leaves the others as they were.
    engine_.step(work(*other, texts_[2]));
    const auto result = engine_.step(work(*fork, std::span(text).subspan(cut)));
    EXPECT_TRUE(std::equal(result.logits.begin(), result.logits.end(),
                           whole.logits.begin() + static_cast<int64_t>(cut * vocabulary)));
    EXPECT_EQ(fork->length(), static_cast<int64_t>(text.size()));
  }
}

TEST_P(EngineOf, ScoresAreThoseOfTheLogits) {
  const auto& text = texts_[0];
  const auto sequence = engine_.new_sequence();
  std::vector<TokenQuery> queries;
  for (size_t t = 0; t + 1 < text.size(); t += 3) {
    queries.push_back({static_cast<int64_t>(t), text[t + 1]});
    queries.push_back({static_cast<int64_t>(t), 7});
  }
  auto asked = work(*sequence, text);
  asked.queries = queries;
  asked.likely = 3;
  const auto result = engine_.step(asked);
  ASSERT_EQ(result.scores.size(), queries.size());
  const auto vocabulary = static_cast<size_t>(engine_.vocabulary());
  for (size_t i = 0; i < queries.size(); ++i) {
    const auto logits = std::span(result.logits).subspan(static_cast<size_t>(queries[i].row) * vocabulary, vocabulary);
    const LogProbabilities expected(logits);
    EXPECT_EQ(result.scores[i].logprob, expected.of(queries[i].id));
    EXPECT_EQ(result.scores[i].greedy, expected.best() == queries[i].id);
    ASSERT_EQ(result.scores[i].likely.size(), 3u);
    EXPECT_EQ(result.scores[i].likely[0].id, expected.best());
    EXPECT_EQ(result.scores[i].likely[0].logprob, expected.of(expected.best()));
    EXPECT_GE(result.scores[i].likely[1].logprob, result.scores[i].likely[2].logprob);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EngineOf, testing::ValuesIn(cases()),
                         [](const auto& information) { return information.param.name; });

class EngineSteps : public testing::Test {
 protected:
  EngineSteps()
      : reference_(test::tiny_model(test::tiny_config(ModelKind::dlcm))),
        engine_(reference_.packed(), {.threads = 2}) {}

  test::TinyModel reference_;
  Engine engine_;
};

TEST_F(EngineSteps, TextsBeyondOnePassGiveTheSameBits) {
  std::mt19937_64 random(7);
  std::vector<int32_t> text;
  while (static_cast<int64_t>(text.size()) < 2 * Engine::kRowsAtOnce + 77)
    text.push_back(static_cast<int32_t>(random() % 256));
  const auto whole = engine_.new_sequence(), stepwise = engine_.new_sequence();
  const auto expected = engine_.step({.sequence = whole.get(), .ids = text, .logits = LogitsWanted::last});
  EngineResult last;
  for (size_t t = 0; t < text.size(); ++t) {
    last =
        engine_.step({.sequence = stepwise.get(), .ids = std::span(text).subspan(t, 1), .logits = LogitsWanted::last});
    ASSERT_EQ(last.boundary.front(), expected.boundary[t]) << t;
  }
  EXPECT_EQ(last.logits, expected.logits);
  EXPECT_EQ(stepwise->concepts(), whole->concepts());
}

TEST_F(EngineSteps, ForcedBoundariesAreTaken) {
  const std::vector<int32_t> text{1, 2, 3, 4, 5, 6, 7};
  const std::vector<uint8_t> forced{1, 0, 0, 1, 1, 0, 1};
  const auto sequence = engine_.new_sequence();
  const auto result = engine_.step({.sequence = sequence.get(), .ids = text, .forced = forced});
  EXPECT_EQ(result.boundary, forced);
  EXPECT_EQ(sequence->concepts(), 4);
}

TEST_F(EngineSteps, RequestsOutOfRangeAreErrorsThatChangeNothing) {
  const auto sequence = engine_.new_sequence();
  const std::vector<int32_t> ids{1, 2}, low{1, -1}, high{1, 258};
  const std::vector<uint8_t> no_begin{0, 1}, short_one{1};
  const std::vector<TokenQuery> beyond{{2, 0}}, falling{{1, 0}, {0, 0}}, unknown{{0, 258}};
  const std::vector<EngineWork> wrong{
      {.sequence = sequence.get(), .ids = low},
      {.sequence = sequence.get(), .ids = high},
      {.sequence = sequence.get(), .ids = ids, .forced = no_begin},
      {.sequence = sequence.get(), .ids = ids, .forced = short_one},
      {.sequence = sequence.get(), .ids = ids, .queries = beyond},
      {.sequence = sequence.get(), .ids = ids, .queries = falling},
      {.sequence = sequence.get(), .ids = ids, .queries = unknown},
  };
  for (const auto& work : wrong) EXPECT_THROW(engine_.step(work), Error);
  const std::vector<EngineWork> twice{{.sequence = sequence.get(), .ids = ids},
                                      {.sequence = sequence.get(), .ids = ids}};
  EXPECT_THROW(engine_.step(twice), Error);
  EXPECT_EQ(sequence->length(), 0);
}

TEST_F(EngineSteps, NothingToReadGivesNothing) {
  const auto sequence = engine_.new_sequence();
  EXPECT_TRUE(engine_.step(std::span<const EngineWork>()).empty());
  EXPECT_TRUE(engine_.step({.sequence = sequence.get(), .ids = {}, .logits = LogitsWanted::last}).logits.empty());
  EXPECT_EQ(sequence->length(), 0);
}

TEST_F(EngineSteps, TrafficCountsWeightsOnceAPass) {
  const auto sequence = engine_.new_sequence(), other = engine_.new_sequence();
  const std::vector<int32_t> ids{1};
  const std::vector<uint8_t> opens{1};
  engine_.step({.sequence = sequence.get(), .ids = ids, .forced = opens});
  const auto one = engine_.traffic();
  EXPECT_GT(one.weight_bytes, 0);
  const std::vector<EngineWork> both{{.sequence = sequence.get(), .ids = ids, .forced = opens},
                                     {.sequence = other.get(), .ids = ids, .forced = opens}};
  engine_.step(both);
  const auto two = engine_.traffic();
  EXPECT_EQ(two.rows, 3);
  EXPECT_EQ(two.concepts, 3);
  EXPECT_EQ(two.passes, 2);
  // The first concept of a text is projected from no segment.
  EXPECT_GE(two.weight_bytes, 2 * one.weight_bytes);
  EXPECT_LT(two.weight_bytes, 3 * one.weight_bytes);
  EXPECT_GT(two.cache_bytes, 2 * one.cache_bytes);
}

}  // namespace
}  // namespace dlcm
