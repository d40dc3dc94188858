// The counts against the paper's numbers, against sums written out by hand, and of the shipped configurations.
#include "dlcm/model/flops.h"

#include "tests/support/models.h"

#include <gtest/gtest.h>

#include <cmath>

namespace dlcm {
namespace {

Config shipped(const std::string& name, const std::vector<std::string>& settings = {}) {
  return load_config(DLCM_SOURCE_DIR "/configs/" + name + ".toml", settings);
}

double forward_flops_of(const std::string& name) { return expected_flops_per_token(shipped(name)).total(); }

// Within half a unit of the last digit that the paper or its reading prints.
#define EXPECT_ROUNDS_TO(value, printed, unit) EXPECT_NEAR(value, printed, 0.5 * (unit))

TEST(Flops, ReferenceModelsHaveThePapersParameters) {
  const auto llama = count_parameters(shipped("llama-1.3b"));
  const auto dlcm = count_parameters(shipped("dlcm-2.3b"));
  EXPECT_ROUNDS_TO(llama.total(), 1.302e9, 0.001e9);
  EXPECT_ROUNDS_TO(dlcm.total(), 2.34e9, 0.01e9);
  EXPECT_ROUNDS_TO(touched_parameters(llama, 4.0), 1.10e9, 0.01e9);
  EXPECT_ROUNDS_TO(touched_parameters(dlcm, 4.0), 1.11e9, 0.01e9);
  EXPECT_ROUNDS_TO(dlcm.backbone_share(), 0.70, 0.01);
  EXPECT_ROUNDS_TO(static_cast<double>(dlcm.backbone) / static_cast<double>(dlcm.total()), 0.58, 0.01);
}

TEST(Flops, ReferenceModelsCountTheKnownOperations) {
  EXPECT_ROUNDS_TO(forward_flops_of("dlcm-2.3b"), 2.69e9, 0.01e9);
  EXPECT_ROUNDS_TO(forward_flops_of("llama-1.3b"), 3.01e9, 0.01e9);
}

TEST(Flops, ReferenceModelsCacheTheKnownValues) {
  EXPECT_ROUNDS_TO(cache_values_per_token(shipped("dlcm-2.3b"), 4.0), 37.2e3, 0.1e3);
  EXPECT_ROUNDS_TO(cache_values_per_token(shipped("llama-1.3b"), 4.0), 98.3e3, 0.1e3);
}

TEST(Flops, BaselinesMatchTheirModelsWithinOnePercent) {
  for (const auto& [model, baseline] :
       std::vector<std::pair<std::string, std::string>>{{"tiny", "tiny-llama"},
                                                        {"nano", "nano-llama"},
                                                        {"micro", "micro-llama"},
                                                        {"mini", "mini-llama"},
                                                        {"small", "small-llama"},
                                                        {"small", "small-no-backbone-matched"},
                                                        {"base", "base-llama"},
                                                        {"medium", "medium-llama"},
                                                        {"dlcm-2.3b", "dlcm-2.3b-flop-matched-llama"}}) {
    EXPECT_NEAR(forward_flops_of(baseline) / forward_flops_of(model), 1.0, 0.01) << baseline;
    const auto left = shipped(model);
    const auto right = shipped(baseline);
    EXPECT_EQ(left.model.vocabulary, right.model.vocabulary) << baseline;
    EXPECT_EQ(left.model.token.width, right.model.token.width) << baseline;
    EXPECT_EQ(left.train.context, right.train.context) << baseline;
    EXPECT_EQ(left.train.steps, right.train.steps) << baseline;
    EXPECT_EQ(left.train.tokens_per_step, right.train.tokens_per_step) << baseline;
    EXPECT_EQ(left.parser.ratio, 4.0) << model;
  }
}

TEST(Flops, PapersPairMatchesInParametersTouched) {
  EXPECT_NEAR(touched_parameters(count_parameters(shipped("dlcm-2.3b")), 4.0) /
                  touched_parameters(count_parameters(shipped("llama-1.3b")), 4.0),
              1.0, 0.01);
}

TEST(Flops, NoBackboneControlDiffersInItsLayersOnly) {
  EXPECT_EQ(to_toml(shipped("small-no-backbone")), to_toml(shipped("small", {"model.concept.layers=0"})));
}

// D = 4, F = 6, N = 2, G = 1, H = 2; W = 8, F = 10, N = 4, G = 2, H = 2; C = 3; V = 5.
Config hand_sized() {
  return parse_config(
      "", "hand",
      {"model.vocabulary=5", "model.token.width=4", "model.token.encoder_layers=1", "model.token.decoder_layers=2",
       "model.token.feed_forward=6", "model.token.heads=2", "model.token.kv_heads=1", "model.concept.width=8",
       "model.concept.layers=3", "model.concept.feed_forward=10", "model.concept.heads=4", "model.concept.kv_heads=2",
       "parser.scan_width=3", "train.context=8", "train.micro_batch_tokens=8"});
}
// q, o, k, v, gate, up, down.
constexpr int64_t kTokenLayer = 16 + 16 + 8 + 8 + 24 + 24 + 24;
constexpr int64_t kConceptLayer = 64 + 64 + 32 + 32 + 80 + 80 + 80;

TEST(Flops, ParametersAreThoseOfTheModulesListedByHand) {
  const auto count = count_parameters(hand_sized());
  EXPECT_EQ(count.embedding, 20);
  EXPECT_EQ(count.encoder, kTokenLayer + 8);
  EXPECT_EQ(count.parser, 4 + 12 + 12);
  EXPECT_EQ(count.pooling, 4 + 32 + 8);
  EXPECT_EQ(count.backbone, 3 * (kConceptLayer + 16) + 8);
  EXPECT_EQ(count.cross_attention_token, 4 + 16 + 2 + 16);
  EXPECT_EQ(count.cross_attention_concept, 16 + 2 + 16);
  EXPECT_EQ(count.decoder, 2 * (kTokenLayer + 8) + 4);
  EXPECT_EQ(count.head, 20);
  EXPECT_EQ(count.total(), 20 + 20 + count.non_embedding());
  EXPECT_EQ(touched_parameters(count, 2.0),
            static_cast<double>(count.encoder + count.parser + count.cross_attention_token + count.decoder + 20) +
                static_cast<double>(count.pooling + count.backbone + count.cross_attention_concept) / 2.0);
}

TEST(Flops, OnlyTheLearnedRuleHasParserParameters) {
  auto config = hand_sized();
  config.parser.rule = BoundaryRule::stride;
  EXPECT_EQ(count_parameters(config).parser, 0);
  EXPECT_EQ(expected_flops_per_token(config).parser, 0.0);
}

TEST(Flops, LlamaIsTheTokenStackAlone) {
  auto config = hand_sized();
  config.model.kind = ModelKind::llama;
  config.model.token.layers = 2;
  const auto count = count_parameters(config);
  EXPECT_EQ(count.total(), 20 + 2 * (kTokenLayer + 8) + 4 + 20);
  EXPECT_EQ(count.backbone_share(), 0.0);
  const auto flops = forward_flops(config, {.tokens = 10, .token_pairs = 30});
  EXPECT_EQ(flops.decoder, 2 * (2 * kTokenLayer * 10 + 4 * 4 * 30));
  EXPECT_EQ(flops.total(), flops.decoder + flops.head);
  EXPECT_EQ(cache_values_per_token(config, 4.0), 2 * 2 * 2);
}

TEST(Flops, OperationsFollowTheWorkReallyDone) {
  const auto flops = forward_flops(
      hand_sized(), {.tokens = 10, .token_pairs = 30, .concepts = 4, .concept_pairs = 7, .cross_pairs = 21});
  EXPECT_EQ(flops.encoder, 2 * kTokenLayer * 10 + 4 * 4 * 30);
  EXPECT_EQ(flops.parser, 2 * (12 + 12) * 10);
  EXPECT_EQ(flops.pooling, 2 * 32 * 4);
  EXPECT_EQ(flops.backbone, 3 * (2 * kConceptLayer * 4 + 4 * 8 * 7));
  EXPECT_EQ(flops.cross_attention, 2 * (16 + 16) * 10 + 2 * (16 + 16) * 4 + 4 * 4 * 21);
  EXPECT_EQ(flops.decoder, 2 * flops.encoder);
  EXPECT_EQ(flops.head, 2 * 20 * 10);
}

TEST(Flops, WhatThePaperDoesNotHaveIsCounted) {
  auto config = test::beyond_the_paper(hand_sized(), 3);
  const auto count = count_parameters(config), plain = count_parameters(hand_sized());
  EXPECT_EQ(count.concept_residual, 4 * 8);
  EXPECT_EQ(count.cross_attention_token, 2 * plain.cross_attention_token);
  EXPECT_EQ(count.cross_attention_concept, 2 * plain.cross_attention_concept);
  EXPECT_EQ(count.total(), plain.total() + 32 + plain.cross_attention_token + plain.cross_attention_concept);
  EXPECT_EQ(touched_parameters(count, 2.0), touched_parameters(plain, 2.0) +
                                                static_cast<double>(plain.cross_attention_token) +
                                                static_cast<double>(32 + plain.cross_attention_concept) / 2.0);
  const Work work{.tokens = 10, .token_pairs = 30, .concepts = 4, .concept_pairs = 7, .cross_pairs = 21};
  const auto flops = forward_flops(config, work), plain_flops = forward_flops(hand_sized(), work);
  EXPECT_EQ(flops.concept_residual, 2 * 32 * 4);
  EXPECT_EQ(flops.cross_attention, 2 * plain_flops.cross_attention);
  EXPECT_EQ(flops.total(), plain_flops.total() + flops.concept_residual + plain_flops.cross_attention);
  EXPECT_EQ(cache_values_per_token(config, 2.0), cache_values_per_token(hand_sized(), 2.0) + 2 * 2 / 2.0);
  // Eight tokens that see 1, 2, 3, 3 ... of them.
  EXPECT_EQ(expected_flops_per_token(config).encoder * 8, 2 * kTokenLayer * 8 + 4 * 4 * (1 + 2 + 6 * 3));
}

TEST(Flops, ExpectedWorkIsThatOfEqualConcepts) {
  // 12 tokens in concepts of 3: token t sees 1 + t / 3 places.
  const auto work = expected_work(12, 3.0);
  double token_pairs = 0.0;
  double cross_pairs = 0.0;
  for (int t = 0; t < 12; ++t) {
    token_pairs += 1 + t;
    cross_pairs += 1 + t / 3;
  }
  EXPECT_EQ(work.tokens, 12.0);
  EXPECT_EQ(work.token_pairs, token_pairs);
  EXPECT_EQ(work.concepts, 4.0);
  EXPECT_EQ(work.concept_pairs, 1 + 2 + 3 + 4);
  EXPECT_EQ(work.cross_pairs, cross_pairs);
}

TEST(Flops, WindowShorterThanAConceptHasOnePlace) {
  const auto work = expected_work(3, 8.0);
  EXPECT_EQ(work.concepts, 1.0);
  EXPECT_EQ(work.cross_pairs, 3.0);
}

TEST(Flops, ExpectedFlopsPerTokenAreThoseOfOneWindow) {
  const auto config = hand_sized();
  EXPECT_DOUBLE_EQ(expected_flops_per_token(config).total() * 8.0,
                   forward_flops(config, expected_work(8, 4.0)).total());
}

TEST(Flops, CausalPairsRestartAtEveryDocument) {
  EXPECT_EQ(causal_pairs({0}), 0.0);
  EXPECT_EQ(causal_pairs({0, 1}), 1.0);
  EXPECT_EQ(causal_pairs({0, 4}), 10.0);
  EXPECT_EQ(causal_pairs({0, 3, 3, 5}), 6.0 + 0.0 + 3.0);
  EXPECT_EQ(causal_pairs({0, 5, 6}, 2), 1.0 + 4 * 2.0 + 1.0);
  EXPECT_EQ(causal_pairs({0, 5, 6}, 1), 6.0);
  EXPECT_EQ(causal_pairs({0, 5}, 9), 15.0);
}

TEST(Flops, CacheHoldsConceptsAtTheirRate) {
  EXPECT_EQ(cache_values_per_token(hand_sized(), 4.0), 3 * 2 * 2 + (3 * 2 * 4 + 2 * 2) / 4.0);
}

TEST(Flops, TrainingKeepsSixteenBytesAParameter) {
  const auto config = hand_sized();
  const auto memory = training_memory(count_parameters(config));
  EXPECT_EQ(memory.total_bytes(), 16 * count_parameters(config).total());
  EXPECT_EQ(memory.optimizer_bytes, 2 * memory.weights_bytes);
  EXPECT_EQ(memory.gradients_bytes, memory.weights_bytes);
}

TEST(Flops, UnknownVocabularyIsRefused) {
  const Config config;
  EXPECT_THROW(count_parameters(config), Error);
  EXPECT_THROW(expected_flops_per_token(config), Error);
}

TEST(Flops, LargestAllowedSizesDoNotOverflow) {
  auto config = hand_sized();
  config.model.vocabulary = int64_t{1} << 24;
  config.model.token = {.width = int64_t{1} << 20,
                        .layers = 0,
                        .encoder_layers = 4096,
                        .decoder_layers = 4096,
                        .feed_forward = int64_t{1} << 22,
                        .heads = 1,
                        .kv_heads = 1};
  config.model.concepts = {
      .width = int64_t{1} << 20, .layers = 4096, .feed_forward = int64_t{1} << 22, .heads = 1, .kv_heads = 1};
  check_config(config);  // the largest that it allows
  EXPECT_NEAR(static_cast<double>(count_parameters(config).total()), 3 * 4096 * 16 * std::pow(2.0, 40), 1e15);
  EXPECT_GT(training_memory(count_parameters(config)).total_bytes(), 0);
  auto wider = config;
  ++wider.model.token.width;
  EXPECT_THROW(check_config(wider), ConfigError);
  auto longer = config;
  ++longer.model.concepts.feed_forward;
  EXPECT_THROW(check_config(longer), ConfigError);
}

}  // namespace
}  // namespace dlcm
