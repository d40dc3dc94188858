// Each stage of the model against what it is defined to be, written out.
#include "dlcm/model/cross_attention.h"
#include "dlcm/model/parser.h"
#include "dlcm/model/pooling.h"
#include "dlcm/model/segmentation.h"
#include "dlcm/model/smoothing.h"
#include "dlcm/ops/rms_norm.h"
#include "dlcm/ops/uniform.h"
#include "tests/support/gradients.h"
#include "tests/support/models.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace dlcm {
namespace {

using test::distance;
using test::parameter;
using test::Tensors;

at::Tensor tensor_of(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); }

std::vector<bool> flags(const at::Tensor& boundary_T) {
  const auto contiguous = boundary_T.contiguous();
  const auto* data = contiguous.const_data_ptr<bool>();
  return std::vector<bool>(data, data + boundary_T.numel());
}

// Random weights of a stage in double; gains near 1.
template <typename Stage>
void randomise(Stage& stage) {
  const at::NoGradGuard no_gradient;
  stage->to(at::kDouble);
  for (auto& entry : stage->named_parameters()) {
    entry.value().normal_(entry.key().find("gain") == std::string::npos ? 0.0 : 1.0, 0.3);
  }
}

// ---- Segmentation

TEST(Segmentation, IsWhatItsDefinitionSays) {
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 100; ++trial) {
    std::vector<int64_t> lengths;
    for (uint64_t i = 0; i < 1 + random() % 4; ++i) lengths.push_back(static_cast<int64_t>(random() % 12));
    const auto documents = test::random_batch(lengths, 4, random).documents;
    const auto boundary_T = test::random_boundaries(documents, random);
    const auto boundary = flags(boundary_T);
    const auto actual = Segmentation::from(boundary_T, documents);

    std::vector<int64_t> start, length, place, begin, end, closed_begin, closed_end, closed_reader, offsets{0};
    for (int64_t document = 0; document < documents.size(); ++document) {
      const int64_t first = documents.offsets[document], last = documents.offsets[document + 1];
      for (int64_t t = first; t < last; ++t) {
        const int64_t j = std::count(boundary.begin() + first, boundary.begin() + t + 1, true);  // j(t) = sum of b_i
        begin.push_back(offsets.back());
        end.push_back(offsets.back() + j);
        place.push_back(offsets.back() + j - 1);
        if (!boundary[t]) continue;
        int64_t next = t + 1;
        while (next < last && !boundary[next]) ++next;
        start.push_back(t);
        length.push_back(next - t);
        if (next == last) continue;  // a document's last concept is never needed
        closed_begin.push_back(t);
        closed_end.push_back(next);
        closed_reader.push_back(place.back() + 1);
      }
      offsets.push_back(static_cast<int64_t>(start.size()));
    }
    EXPECT_EQ(actual.places.offsets, offsets);
    EXPECT_EQ(actual.concepts(), static_cast<int64_t>(start.size()));
    EXPECT_TRUE(at::equal(actual.start_S, tensor_of(start)));
    EXPECT_TRUE(at::equal(actual.length_S, tensor_of(length)));
    EXPECT_TRUE(at::equal(actual.place_T, tensor_of(place)));
    EXPECT_TRUE(at::equal(actual.visible_begin_T, tensor_of(begin)));
    EXPECT_TRUE(at::equal(actual.visible_end_T, tensor_of(end)));
    EXPECT_TRUE(at::equal(actual.closed_begin_K, tensor_of(closed_begin)));
    EXPECT_TRUE(at::equal(actual.closed_end_K, tensor_of(closed_end)));
    EXPECT_TRUE(at::equal(actual.closed_reader_K, tensor_of(closed_reader)));
  }
}

TEST(Segmentation, DocumentWithoutAFirstBoundaryThrows) {
  const auto documents = Documents::from_offsets({0, 2, 4});
  EXPECT_THROW(Segmentation::from(at::tensor({1, 0, 0, 1}).to(at::kBool), documents), c10::Error);
  EXPECT_THROW(Segmentation::from(at::tensor({1, 0, 1}).to(at::kBool), documents), c10::Error);
  EXPECT_THROW(Segmentation::from(at::tensor({1, 0, 1, 0}), documents), c10::Error);
}

// ---- Pooling

TEST(Pooling, PlaceHoldsTheConceptBeforeIt) {
  std::mt19937_64 random(2);
  Pooling pooling(test::random_model_config(ModelKind::dlcm));
  randomise(pooling);
  const auto documents = Documents::from_offsets({0, 17, 18, 30});
  const auto boundary_T = test::random_boundaries(documents, random);
  const auto segmentation = Segmentation::from(boundary_T, documents);
  const auto literal = [&](const Tensors& x) {
    const auto h = rms_norm_reference(x[0], parameter(*pooling, "norm.gain"), 1e-5);
    std::vector<at::Tensor> rows;
    for (int64_t place = 0; place < segmentation.concepts(); ++place) {
      const int64_t token = segmentation.start_S[place].item<int64_t>();
      if (documents.position_T[token].item<int64_t>() == 0) {
        rows.push_back(pooling->start_concept_W);
      } else {
        const int64_t begin = segmentation.start_S[place - 1].item<int64_t>();
        rows.push_back(at::mv(parameter(*pooling, "up.weight"), h.slice(0, begin, token).mean(0)));
      }
    }
    return at::stack(rows);
  };
  test::expect_equal_to_reference([&](const Tensors& x) { return pooling->forward(x[0], segmentation); }, literal,
                                  {at::randn({30, 16}, at::kDouble)});
}

TEST(Pooling, StepsEqualForward) {
  const at::NoGradGuard no_gradient;
  std::mt19937_64 random(3);
  Pooling pooling(test::random_model_config(ModelKind::dlcm));
  randomise(pooling);
  const auto documents = Documents::from_offsets({0, 40});
  const auto boundary_T = test::random_boundaries(documents, random);
  const auto h = at::randn({40, 16}, at::kDouble);
  PoolingState state;
  std::vector<at::Tensor> places;
  for (int64_t first = 0; first < 40;) {
    const int64_t count = std::min<int64_t>(40 - first, 1 + static_cast<int64_t>(random() % 5));
    places.push_back(pooling->step(h.narrow(0, first, count), boundary_T.narrow(0, first, count),
                                   Documents::from_offsets({0, count}), {&state}));
    first += count;
  }
  EXPECT_LE(distance(at::cat(places), pooling->forward(h, Segmentation::from(boundary_T, documents))), 1e-12);
}

// ---- Parser

Config parser_config(BoundaryRule rule) {
  auto config = test::random_model_config(ModelKind::dlcm);
  config.parser.rule = rule;
  return config;
}

Parser random_parser(const Config& config) {
  Parser parser(config);
  randomise(parser);
  if (config.parser.rule == BoundaryRule::whitespace) {
    parser->opens_word_V.set_data(at::arange(64).remainder(4).eq(0).to(at::kByte));
  }
  return parser;
}

struct ParserProblem {
  explicit ParserProblem(BoundaryRule rule, const std::vector<int64_t>& lengths = {31, 1, 18}, uint64_t seed = 4)
      : config(parser_config(rule)) {
    std::mt19937_64 random(seed);
    batch = test::random_batch(lengths, 64, random);
    at::manual_seed(seed);
    h_TD = at::randn({batch.tokens(), 16}, at::kDouble);
    uniform_T = uniform_draws(seed, DrawUse::boundary, 0, 0, batch.tokens());
  }
  Config config;
  Batch batch;
  at::Tensor h_TD, uniform_T;
};

TEST(Parser, ScoreIsHalfOfOneMinusTheCosine) {
  ParserProblem problem(BoundaryRule::learned);
  auto parser = random_parser(problem.config);
  const auto actual = [&](const Tensors& x) {
    return parser->forward(x[0], problem.batch, Decision::evaluation(0.5)).p_T;
  };
  const auto literal = [&](const Tensors& x) {
    const auto h = rms_norm_reference(x[0], parameter(*parser, "norm.gain"), 1e-5);
    const auto q = at::mm(h, parameter(*parser, "query.weight").t()),
               k = at::mm(h, parameter(*parser, "key.weight").t());
    std::vector<at::Tensor> p;
    for (int64_t t = 0; t < h.size(0); ++t) {
      const bool first = problem.batch.documents.position_T[t].item<int64_t>() == 0;
      p.push_back(first ? at::ones({}, at::kDouble)
                        : (1 - (q[t - 1] * k[t]).sum() / (q[t - 1].norm() * k[t].norm())) / 2);
    }
    return at::stack(p);
  };
  test::expect_equal_to_reference(actual, literal, {problem.h_TD});
  EXPECT_EQ(parameter(*parser, "query.weight").size(0), 8);  // C = D / 2
}

TEST(Parser, LearnedRuleDecidesByThresholdOrDraw) {
  ParserProblem problem(BoundaryRule::learned);
  problem.config.parser.temperature = 3.0;
  auto sampling = random_parser(problem.config);
  const auto p_T = sampling->forward(problem.h_TD, problem.batch, Decision::evaluation(0.5)).p_T;
  for (const double threshold : {0.0, 0.3, 0.5, 0.7, 1.0}) {
    const auto cut = sampling->forward(problem.h_TD, problem.batch, Decision::evaluation(threshold));
    EXPECT_TRUE(at::equal(cut.boundary_T, p_T.ge(threshold))) << threshold;
  }
  const auto training = Decision::training(problem.uniform_T);
  EXPECT_TRUE(at::equal(sampling->forward(problem.h_TD, problem.batch, training).boundary_T,
                        problem.uniform_T.lt(sharpen(p_T, 3.0))));
  auto config = problem.config;
  config.parser.decision = BoundaryDecision::threshold;
  config.parser.threshold = 0.7;  // what evaluation was calibrated to: training does not read it
  Parser hard(config);
  randomise(hard);
  const auto cut = hard->forward(problem.h_TD, problem.batch, training);
  EXPECT_TRUE(at::equal(cut.boundary_T, cut.p_T.ge(0.5)));
}

TEST(Parser, SharpenedScoreIsTheSigmoidOfTheScaledLogit) {
  const auto p = at::tensor({0.0, 1e-300, 0.1, 0.25, 0.5, 0.9, 1.0}, at::kDouble);
  EXPECT_LE(distance(sharpen(p, 1.0), p), 1e-15);
  for (const double alpha : {1e-3, 4.0, 16.0, 1e6}) {
    const auto sharp = sharpen(p, alpha);
    EXPECT_EQ(sharp[0].item<double>(), 0.0);
    EXPECT_EQ(sharp[4].item<double>(), 0.5) << alpha;
    EXPECT_EQ(sharp[6].item<double>(), 1.0);
    EXPECT_NEAR(sharp[3].item<double>(), 1 / (1 + std::pow(3.0, alpha)), 1e-14) << alpha;
    EXPECT_NEAR(sharp[5].item<double>(), 1 / (1 + std::pow(1.0 / 9, alpha)), 1e-14) << alpha;
  }
  EXPECT_EQ(sharpen(at::ones({1}), 4.0).scalar_type(), at::kDouble);
}

TEST(Parser, ScoreIsOneAtFirstTokensWhateverTheRule) {
  for (const auto rule : {BoundaryRule::learned, BoundaryRule::cosine, BoundaryRule::stride, BoundaryRule::random,
                          BoundaryRule::whitespace}) {
    ParserProblem problem(rule);
    problem.config.parser.cosine_threshold = 1.0;
    auto parser = random_parser(problem.config);
    const auto first_T = problem.batch.documents.position_T.eq(0);
    for (const auto& decision : {Decision::evaluation(1.0), Decision::training(at::full({50}, 0.999, at::kDouble))}) {
      const auto cut = parser->forward(problem.h_TD, problem.batch, decision);
      EXPECT_TRUE(cut.p_T.masked_select(first_T).eq(1).all().item<bool>()) << name_of(rule);
      EXPECT_TRUE(cut.boundary_T.masked_select(first_T).all().item<bool>()) << name_of(rule);
      if (rule != BoundaryRule::learned) {
        EXPECT_TRUE(at::equal(cut.p_T, cut.boundary_T.to(at::kDouble))) << name_of(rule);
      }
    }
  }
}

TEST(Parser, ForcedBoundariesReplaceEveryRule) {
  std::mt19937_64 random(5);
  for (const auto rule : {BoundaryRule::learned, BoundaryRule::cosine, BoundaryRule::stride, BoundaryRule::random,
                          BoundaryRule::whitespace}) {
    const ParserProblem problem(rule);
    auto parser = random_parser(problem.config);
    const auto forced_T = test::random_boundaries(problem.batch.documents, random);
    auto training = Decision::training(problem.uniform_T);
    training.forced_T = forced_T;
    for (const auto& decision : {Decision::forced(forced_T), training}) {
      const auto cut = parser->forward(problem.h_TD, problem.batch, decision);
      EXPECT_TRUE(at::equal(cut.boundary_T, forced_T));
      if (rule == BoundaryRule::learned) {
        EXPECT_TRUE(at::equal(cut.p_T, parser->forward(problem.h_TD, problem.batch, Decision::evaluation(0.5)).p_T));
      } else {
        EXPECT_TRUE(at::equal(cut.p_T, forced_T.to(at::kDouble)));
      }
    }
  }
}

TEST(Parser, StrideOpensPlaceKAtTheFirstPositionNotBelowKTimesR) {
  for (const double ratio : {1.25, 2.0, 2.5, 3.0, 7.75, 100.0}) {
    ParserProblem problem(BoundaryRule::stride, {41, 1, 29});
    problem.config.parser.ratio = ratio;
    auto parser = random_parser(problem.config);
    const auto boundary_T = parser->forward(problem.h_TD, problem.batch, Decision::evaluation(0.5)).boundary_T;
    std::vector<bool> expected;
    for (const int64_t length : {41, 1, 29}) {
      std::vector<bool> document(length, false);
      for (int64_t k = 0; std::ceil(k * ratio) < length; ++k)
        document[static_cast<size_t>(std::ceil(k * ratio))] = true;
      expected.insert(expected.end(), document.begin(), document.end());
    }
    EXPECT_EQ(flags(boundary_T), expected) << ratio;
    EXPECT_TRUE(at::equal(
        parser->forward(problem.h_TD, problem.batch, Decision::training(problem.uniform_T)).boundary_T, boundary_T));
  }
}

TEST(Parser, RandomRuleInEvaluationDependsOnSeedAndPositionAlone) {
  ParserProblem one(BoundaryRule::random, {400, 300}, 6), other(BoundaryRule::random, {1, 400}, 7);
  auto parser = random_parser(one.config);
  const auto boundary = [&](Parser& from, const ParserProblem& problem, double threshold) {
    return from->forward(problem.h_TD, problem.batch, Decision::evaluation(threshold)).boundary_T;
  };
  const auto first = boundary(parser, one, 0.5);
  EXPECT_TRUE(at::equal(first.narrow(0, 0, 300), first.narrow(0, 400, 300)));
  EXPECT_TRUE(at::equal(first.narrow(0, 0, 400), boundary(parser, other, 0.1).narrow(0, 1, 400)));
  const auto rate = first.to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(rate, 1 / 2.5, 5 * std::sqrt(0.4 * 0.6 / 400));
  one.config.train.seed = 2;
  auto reseeded = random_parser(one.config);
  EXPECT_FALSE(at::equal(first, boundary(reseeded, one, 0.5)));
}

TEST(Parser, RandomRuleInTrainingTakesTheDraws) {
  const ParserProblem problem(BoundaryRule::random);
  auto parser = random_parser(problem.config);
  const auto cut = parser->forward(problem.h_TD, problem.batch, Decision::training(problem.uniform_T));
  EXPECT_TRUE(
      at::equal(cut.boundary_T, problem.uniform_T.lt(0.4).logical_or(problem.batch.documents.position_T.eq(0))));
}

TEST(Parser, WhitespaceRuleKeepsSegmentsAtLeastMinLengthLong) {
  for (const int64_t min_length : {1, 2, 5}) {
    ParserProblem problem(BoundaryRule::whitespace, {60, 1, 40});
    problem.config.parser.min_length = min_length;
    auto parser = random_parser(problem.config);
    std::vector<bool> expected;
    int64_t length = 0;
    for (int64_t t = 0; t < problem.batch.tokens(); ++t) {
      const bool opens_word = problem.batch.token_T[t].item<int64_t>() % 4 == 0;
      const bool first = problem.batch.documents.position_T[t].item<int64_t>() == 0;
      expected.push_back(first || (opens_word && length >= min_length));
      length = expected.back() ? 1 : length + 1;
    }
    const auto cut = parser->forward(problem.h_TD, problem.batch, Decision::evaluation(0.5));
    EXPECT_EQ(flags(cut.boundary_T), expected) << min_length;
  }
}

TEST(Parser, CosineRuleComparesNeighboursWithItsOwnThreshold) {
  ParserProblem problem(BoundaryRule::cosine);
  problem.config.parser.cosine_threshold = 0.4;
  auto parser = random_parser(problem.config);
  std::vector<bool> expected;
  for (int64_t t = 0; t < problem.batch.tokens(); ++t) {
    const bool first = problem.batch.documents.position_T[t].item<int64_t>() == 0;
    if (first) {
      expected.push_back(true);
      continue;
    }
    const auto a = problem.h_TD[t - 1], b = problem.h_TD[t];
    expected.push_back((1 - (a * b).sum().item<double>() / (a.norm() * b.norm()).item<double>()) / 2 >= 0.4);
  }
  EXPECT_EQ(flags(parser->forward(problem.h_TD, problem.batch, Decision::evaluation(0.9)).boundary_T), expected);
  EXPECT_TRUE(parser->parameters().empty());
}

TEST(Parser, StatesContinueEveryRule) {
  const at::NoGradGuard no_gradient;
  for (const auto rule : {BoundaryRule::learned, BoundaryRule::cosine, BoundaryRule::stride, BoundaryRule::random,
                          BoundaryRule::whitespace}) {
    const ParserProblem problem(rule, {37});
    auto parser = random_parser(problem.config);
    const auto whole = parser->forward(problem.h_TD, problem.batch, Decision::evaluation(0.5));
    ParserState state;
    std::vector<at::Tensor> boundaries, scores;
    std::mt19937_64 random(8);
    for (int64_t first = 0; first < 37;) {
      const int64_t count = std::min<int64_t>(37 - first, static_cast<int64_t>(random() % 5));
      Batch part;
      part.token_T = problem.batch.token_T.narrow(0, first, count);
      part.documents = Documents::from_offsets({0, count});
      const auto cut = parser->forward(problem.h_TD.narrow(0, first, count), part, Decision::evaluation(0.5), {&state});
      boundaries.push_back(cut.boundary_T);
      scores.push_back(cut.p_T);
      first += count;
    }
    EXPECT_TRUE(at::equal(at::cat(boundaries), whole.boundary_T)) << name_of(rule);
    EXPECT_LE(distance(at::cat(scores), whole.p_T), 1e-12) << name_of(rule);
  }
}

// ---- Smoothing

TEST(Smoothing, IdentityGivesBackThePlaces) {
  const auto z = at::randn({4, 3}, at::kDouble);
  EXPECT_TRUE(at::equal(smooth(SmoothingKind::identity, z, at::rand({4}, at::kDouble)), z));
}

TEST(Smoothing, MovingAverageIsGatedByTheScores) {
  const auto literal = [](const Tensors& x) {
    std::vector<at::Tensor> rows{x[0][0]};
    for (int64_t k = 1; k < x[0].size(0); ++k) rows.push_back(x[1][k] * x[0][k] + (1 - x[1][k]) * rows.back());
    return at::stack(rows);
  };
  auto p = at::rand({9}, at::kDouble);
  p[0] = 1.0;
  const auto z = at::randn({9, 4}, at::kDouble);
  EXPECT_LE(distance(smooth(SmoothingKind::moving_average, z, p), literal({z, p})), 1e-14);
  p[5] = 1.0;  // a second document
  EXPECT_TRUE(at::equal(smooth(SmoothingKind::moving_average, z, p)[5], z[5]));
}

TEST(Smoothing, StepsEqualTheWhole) {
  for (const auto kind : {SmoothingKind::identity, SmoothingKind::moving_average}) {
    auto p = at::rand({12}, at::kDouble);
    p[0] = p[5] = 1.0;
    const auto z = at::randn({12, 4}, at::kDouble);
    const auto whole = smooth(kind, z, p);
    SmoothingState first, second;
    const auto take = [&](const std::vector<int64_t>& rows, const std::vector<int64_t>& offsets) {
      const auto row = tensor_of(rows);
      const auto actual = smooth_step(kind, z.index_select(0, row), p.index_select(0, row), offsets, {&first, &second});
      EXPECT_LE(distance(actual, whole.index_select(0, row)), 1e-14);
    };
    take({0, 1, 5}, {0, 2, 3});
    take({6, 7, 8}, {0, 0, 3});
    take({2, 3, 4, 9, 10, 11}, {0, 3, 6});
  }
}

// ---- Cross-attention

struct CrossProblem {
  explicit CrossProblem(CrossAttentionReading reading, ParserGradient gradient = ParserGradient::decoupled) {
    config.model.cross_attention = reading;
    config.parser.gradient = gradient;
    module = CrossAttention(config);
    at::manual_seed(9);
    randomise(module);
    std::mt19937_64 random(9);
    documents = Documents::from_offsets({0, 23, 24, 40});
    boundary_T = test::random_boundaries(documents, random);
    segmentation = Segmentation::from(boundary_T, documents);
    h_TD = at::randn({40, 16}, at::kDouble);
    z_SW = at::randn({segmentation.concepts(), 24}, at::kDouble);
    p_T = at::rand({40}, at::kDouble);
  }
  test::Function forward() {
    return [this](const Tensors& x) { return module->forward(x[0], x[1], segmentation, {p_T, boundary_T}); };
  }
  // The paper's form of the replicated reading, or its plain one, in dense tensors.
  at::Tensor literal(const at::Tensor& h, const at::Tensor& z, bool replicated) const {
    const int64_t heads = 4, kv_heads = 2, size = 4;
    const auto weight = [&](const std::string& name) { return parameter(*module, name); };
    const auto normed = rms_norm_reference(h, weight("norm.gain"), 1e-5);
    const auto q = rms_norm_reference(at::mm(normed, weight("query.weight").t()).view({-1, heads, size}),
                                      weight("query_norm.gain"), 1e-5);
    auto k = rms_norm_reference(at::mm(z, weight("key.weight").t()).view({-1, kv_heads, size}), weight("key_norm.gain"),
                                1e-5);
    auto v = at::mm(z, weight("value.weight").t()).view({-1, kv_heads, size});
    at::Tensor visible;
    if (replicated) {
      // K and V of a place at every token of its segment, then an L x L causal kernel within the document.
      k = k.repeat_interleave(segmentation.length_S, 0);
      v = v.repeat_interleave(segmentation.length_S, 0);
      const auto token = at::arange(h.size(0), at::kLong);
      visible =
          token.unsqueeze(0).le(token.unsqueeze(1)).logical_and(token.unsqueeze(0).ge(documents.begin_T.unsqueeze(1)));
    } else {
      const auto place = at::arange(z.size(0), at::kLong).unsqueeze(0);
      visible = place.ge(segmentation.visible_begin_T.unsqueeze(1))
                    .logical_and(place.lt(segmentation.visible_end_T.unsqueeze(1)));
    }
    k = k.repeat_interleave(heads / kv_heads, 1).transpose(0, 1);
    v = v.repeat_interleave(heads / kv_heads, 1).transpose(0, 1);
    const auto scores = at::matmul(q.transpose(0, 1), k.transpose(1, 2)) / 2.0;
    const auto weights = at::softmax(scores.masked_fill(visible.logical_not(), -1e300), -1);
    const auto mixed = at::matmul(weights, v).transpose(0, 1).reshape({h.size(0), heads * size});
    return h + at::mm(mixed, weight("output.weight").t());
  }

  Config config = test::random_model_config(ModelKind::dlcm);
  CrossAttention module{nullptr};
  Documents documents;
  at::Tensor boundary_T, h_TD, z_SW, p_T;
  Segmentation segmentation;
};

TEST(CrossAttention, BiasedFormEqualsReplicatedKeysAndValues) {
  CrossProblem problem(CrossAttentionReading::replicated);
  test::expect_equal_to_reference(problem.forward(),
                                  [&](const Tensors& x) { return problem.literal(x[0], x[1], true); },
                                  {problem.h_TD, problem.z_SW});
}

TEST(CrossAttention, PlainReadingCountsEachVisiblePlaceOnce) {
  CrossProblem problem(CrossAttentionReading::plain);
  test::expect_equal_to_reference(problem.forward(),
                                  [&](const Tensors& x) { return problem.literal(x[0], x[1], false); },
                                  {problem.h_TD, problem.z_SW});
}

TEST(CrossAttention, ReadingsDiffer) {
  CrossProblem plain(CrossAttentionReading::plain), replicated(CrossAttentionReading::replicated);
  EXPECT_GT(distance(plain.forward()({plain.h_TD, plain.z_SW}), replicated.forward()({plain.h_TD, plain.z_SW})), 1e-3);
}

// Pooling and cross-attention alone, the concepts as they are in place of the backbone's output.
TEST(CrossAttention, TokenNeverSeesItsUnfinishedConcept) {
  const at::NoGradGuard no_gradient;
  for (const auto reading : {CrossAttentionReading::plain, CrossAttentionReading::replicated}) {
    CrossProblem problem(reading);
    Pooling pooling(problem.config);
    randomise(pooling);
    const auto documents = Documents::from_offsets({0, 12});
    const auto run = [&](const at::Tensor& h, const std::vector<int64_t>& boundary) {
      const auto boundary_T = tensor_of(boundary).to(at::kBool);
      const auto segmentation = Segmentation::from(boundary_T, documents);
      return problem.module->forward(h, pooling->forward(h, segmentation), segmentation,
                                     {boundary_T.to(at::kDouble), boundary_T});
    };
    // Segments [0, 3), [3, 8), [8, 12).
    const std::vector<int64_t> boundary{1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0};
    const auto h = at::randn({12, 16}, at::kDouble);
    const auto before = run(h, boundary);
    for (int64_t changed_token = 3; changed_token < 8; ++changed_token) {
      auto changed = h.clone();
      changed[changed_token].add_(at::randn({16}, at::kDouble));
      const auto after = run(changed, boundary);
      for (int64_t t = 0; t < 12; ++t) {
        const bool may_differ = t == changed_token || t >= 8;
        EXPECT_EQ(distance(after[t], before[t]) > 1e-12, may_differ) << changed_token << " seen by " << t;
      }
    }
    // Where the segment will end is not known to its tokens either.
    const auto longer = run(h, {1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0});
    EXPECT_LE(distance(longer.narrow(0, 0, 8), before.narrow(0, 0, 8)), 1e-13);
    EXPECT_GT(distance(longer[8], before[8]), 1e-6);
  }
}

TEST(CrossAttention, StepsEqualForward) {
  const at::NoGradGuard no_gradient;
  for (const auto reading : {CrossAttentionReading::plain, CrossAttentionReading::replicated}) {
    CrossProblem problem(reading);
    const auto expected = problem.forward()({problem.h_TD, problem.z_SW});
    std::vector<CrossAttentionState> states(3);
    std::vector<int64_t> read(3, 0), read_places(3, 0);
    const auto& offsets = problem.documents.offsets;
    const auto& place_offsets = problem.segmentation.places.offsets;
    std::mt19937_64 random(10);
    for (int64_t left = 40; left > 0;) {
      std::vector<int64_t> rows, places, step_offsets{0};
      std::vector<CrossAttentionState*> pointers;
      for (int64_t i = 0; i < 3; ++i) {
        const int64_t length = offsets[i + 1] - offsets[i];
        const int64_t count = std::min<int64_t>(length - read[i], static_cast<int64_t>(random() % 4));
        for (int64_t row = 0; row < count; ++row) {
          rows.push_back(offsets[i] + read[i]++);
          if (problem.boundary_T[rows.back()].item<bool>()) places.push_back(place_offsets[i] + read_places[i]++);
        }
        step_offsets.push_back(step_offsets.back() + count);
        pointers.push_back(&states[i]);
        left -= count;
      }
      const auto row_T = tensor_of(rows);
      const auto actual =
          problem.module->step(problem.h_TD.index_select(0, row_T), problem.z_SW.index_select(0, tensor_of(places)),
                               {problem.p_T.index_select(0, row_T), problem.boundary_T.index_select(0, row_T)},
                               Documents::from_offsets(step_offsets), pointers);
      EXPECT_LE(distance(actual, expected.index_select(0, row_T)), 1e-12);
    }
  }
}

TEST(CrossAttention, StraightThroughChangesNoValueAndReachesTheScores) {
  CrossProblem problem(CrossAttentionReading::plain, ParserGradient::straight_through);
  CrossProblem decoupled(CrossAttentionReading::plain);
  const auto plain = decoupled.forward()({problem.h_TD, problem.z_SW}).detach();
  const auto run = [&](const Tensors& x) {
    return problem.module->forward(problem.h_TD, problem.z_SW, problem.segmentation, {x[0], problem.boundary_T});
  };
  const auto result = test::value_and_gradients(run, {problem.p_T});
  EXPECT_TRUE(at::equal(result.value, plain));
  // d c_t / d p_t is 1 where b_t = 1 and -1 elsewhere; the factor multiplies what was read, not the residual.
  const auto read_TD = plain - problem.h_TD;
  const auto sign_T = problem.boundary_T.to(at::kDouble) * 2 - 1;
  EXPECT_LE(distance(result.gradients[0], sign_T * (test::direction_like(plain) * read_TD).sum(1)), 1e-12);
}

}  // namespace
}  // namespace dlcm
