// Cross-attention against what it is defined to be, written out.
#include "dlcm/model/cross_attention.h"

#include "dlcm/model/pooling.h"
#include "dlcm/model/segmentation.h"
#include "dlcm/ops/rms_norm.h"
#include "tests/model/stages.h"
#include "tests/support/gradients.h"

#include <gtest/gtest.h>

#include <random>

namespace dlcm {
namespace {

using test::distance;
using test::parameter;
using test::randomise;
using test::tensor_of;
using test::Tensors;

struct CrossProblem {
  explicit CrossProblem(CrossAttentionReading reading, ParserGradient gradient = ParserGradient::decoupled,
                        CrossAttentionPositions positions = CrossAttentionPositions::none) {
    config.model.cross_attention = reading;
    config.model.cross_attention_positions = positions;
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
    return [this](const Tensors& x) { return module->forward(x[0], x[1], segmentation, {p_T, boundary_T}, documents); };
  }
  // Pairs (i, i + H/2) as complex numbers, times exp(sqrt(-1) place theta^(-2i/H)).
  at::Tensor turned(const at::Tensor& x, const at::Tensor& place) const {
    const auto halves = x.chunk(2, -1);
    const auto rate = at::tensor({1.0, std::pow(config.model.rope_theta, -0.5)}, at::kDouble);
    const auto angle = (place.to(at::kDouble).unsqueeze(1) * rate).unsqueeze(1);
    const auto product = at::complex(halves[0], halves[1]) * at::polar(at::ones_like(angle), angle);
    return at::cat({at::real(product), at::imag(product)}, -1);
  }
  // The paper's form of the replicated reading, or its plain one, in dense tensors.
  at::Tensor literal(const at::Tensor& h, const at::Tensor& z, bool replicated) const {
    const int64_t heads = 4, kv_heads = 2, size = 4;
    const auto weight = [&](const std::string& name) { return parameter(*module, name); };
    const auto normed = rms_norm_reference(h, weight("norm.gain"), 1e-5);
    auto q = rms_norm_reference(at::mm(normed, weight("query.weight").t()).view({-1, heads, size}),
                                weight("query_norm.gain"), 1e-5);
    auto k = rms_norm_reference(at::mm(z, weight("key.weight").t()).view({-1, kv_heads, size}), weight("key_norm.gain"),
                                1e-5);
    auto v = at::mm(z, weight("value.weight").t()).view({-1, kv_heads, size});
    if (config.model.cross_attention_positions == CrossAttentionPositions::places) {
      q = turned(q, segmentation.place_T - segmentation.visible_begin_T);
      k = turned(k, segmentation.places.position_T);
    }
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

TEST(CrossAttention, BiasedFormAndReplicationEqualReplicatedKeysAndValues) {
  for (const auto reading : {CrossAttentionReading::replicated, CrossAttentionReading::replication}) {
    CrossProblem problem(reading);
    test::expect_equal_to_reference(problem.forward(),
                                    [&](const Tensors& x) { return problem.literal(x[0], x[1], true); },
                                    {problem.h_TD, problem.z_SW});
  }
}

TEST(CrossAttention, PlainReadingCountsEachVisiblePlaceOnce) {
  CrossProblem problem(CrossAttentionReading::plain);
  test::expect_equal_to_reference(problem.forward(),
                                  [&](const Tensors& x) { return problem.literal(x[0], x[1], false); },
                                  {problem.h_TD, problem.z_SW});
}

TEST(CrossAttention, PlacesTurnQueriesAndKeys) {
  for (const auto reading :
       {CrossAttentionReading::plain, CrossAttentionReading::replicated, CrossAttentionReading::replication}) {
    CrossProblem problem(reading, ParserGradient::decoupled, CrossAttentionPositions::places);
    CrossProblem without(reading);
    const auto found = problem.forward()({problem.h_TD, problem.z_SW});
    EXPECT_LT(distance(found, problem.literal(problem.h_TD, problem.z_SW, reading != CrossAttentionReading::plain)),
              1e-12);
    EXPECT_GT(distance(found, without.forward()({problem.h_TD, problem.z_SW})), 1e-3);
  }
}

TEST(CrossAttention, ReadingsDiffer) {
  CrossProblem plain(CrossAttentionReading::plain), replicated(CrossAttentionReading::replicated);
  EXPECT_GT(distance(plain.forward()({plain.h_TD, plain.z_SW}), replicated.forward()({plain.h_TD, plain.z_SW})), 1e-3);
}

// Pooling and cross-attention alone, the concepts as they are in place of the backbone's output.
TEST(CrossAttention, TokenNeverSeesItsUnfinishedConcept) {
  const at::NoGradGuard no_gradient;
  for (const auto reading :
       {CrossAttentionReading::plain, CrossAttentionReading::replicated, CrossAttentionReading::replication}) {
    CrossProblem problem(reading);
    Pooling pooling(problem.config);
    randomise(pooling);
    const auto documents = Documents::from_offsets({0, 12});
    const auto run = [&](const at::Tensor& h, const std::vector<int64_t>& boundary) {
      const auto boundary_T = tensor_of(boundary).to(at::kBool);
      const auto segmentation = Segmentation::from(boundary_T, documents);
      return problem.module->forward(h, pooling->forward(h, segmentation), segmentation,
                                     {boundary_T.to(at::kDouble), boundary_T}, documents);
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

TEST(CrossAttention, StraightThroughChangesNoValueAndReachesTheScores) {
  CrossProblem problem(CrossAttentionReading::plain, ParserGradient::straight_through);
  CrossProblem decoupled(CrossAttentionReading::plain);
  const auto plain = decoupled.forward()({problem.h_TD, problem.z_SW}).detach();
  const auto run = [&](const Tensors& x) {
    return problem.module->forward(problem.h_TD, problem.z_SW, problem.segmentation, {x[0], problem.boundary_T},
                                   problem.documents);
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
