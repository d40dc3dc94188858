#include "dlcm/infer/score.h"

#include "dlcm/data/dataset.h"
#include "dlcm/infer/evaluation.h"
#include "tests/infer/tiny_model.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <numeric>

namespace dlcm {
namespace {

const std::string kText = "It was the best of times, it was the worst of times.";
const std::vector<std::string> kTexts{kText, "", "a", std::string(200, 'x') + "caf\u00E9\n\xFF" + kText + kText};

std::vector<std::vector<int32_t>> ids_of(const test::TinyModel& model, const std::vector<std::string>& texts) {
  std::vector<std::vector<int32_t>> ids;
  for (const auto& text : texts) ids.push_back(document_ids(*model.tokenizer, text));
  return ids;
}

std::vector<Batch> batches_for(const test::TinyModel& model, const std::vector<std::vector<int32_t>>& documents) {
  return batches_of(documents, model.config.train.context, model.config.train.micro_batch_tokens);
}

// What one forward pass over the document alone gives.
void expect_plain_forward(const test::TinyModel& model, const ScoredDocument& document, double threshold) {
  const at::NoGradGuard no_gradient;
  Batch batch;
  batch.token_T = at::tensor(std::vector<int64_t>(document.ids.begin(), document.ids.end()), at::kLong);
  batch.documents = Documents::from_offsets({0, document.tokens()});
  const auto output = model.model->forward(batch, Decision::evaluation(threshold));
  const auto logprob_TV = at::log_softmax(model.model->logits(output.y_TD), -1);
  for (int64_t t = 1; t < document.tokens(); ++t) {
    EXPECT_NEAR(document.logprobs[static_cast<size_t>(t)],
                logprob_TV[t - 1][document.ids[static_cast<size_t>(t)]].item<double>(), 1e-4);
    if (!output.cut) continue;
    EXPECT_NEAR(document.boundary_prob[static_cast<size_t>(t)], output.cut->p_T[t].item<double>(), 1e-5);
    EXPECT_EQ(document.boundary[static_cast<size_t>(t)], output.cut->boundary_T[t].item<bool>());
  }
}

TEST(Score, EqualsOneForwardPass) {
  for (const auto kind : {ModelKind::dlcm, ModelKind::llama}) {
    const auto model = test::tiny_model(test::tiny_config(kind));
    const auto document = score(model, {kText}, 0.5).front();
    ASSERT_EQ(document.tokens(), static_cast<int64_t>(kText.size()) + 1);
    EXPECT_EQ(document.ids.front(), model.tokenizer->begin_of_text());
    expect_plain_forward(model, document, 0.5);
  }
}

TEST(Score, SumsAreThoseOfTheArrays) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  for (const auto& document : score(model, kTexts, 0.5)) {
    EXPECT_NEAR(document.nll, -std::accumulate(document.logprobs.begin(), document.logprobs.end(), 0.0), 1e-9);
    EXPECT_EQ(document.tokens(), document.bytes + 1);  // bytes are the tokens here
    EXPECT_EQ(document.concepts(), std::accumulate(document.boundary.begin(), document.boundary.end(), int64_t{0}));
    if (document.bytes == 0) continue;
    EXPECT_NEAR(document.bits_per_byte() * std::log(2.0) * document.bytes, document.nll, 1e-9);
  }
}

TEST(Score, DocumentsDoNotReadEachOther) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  const auto together = score(model, kTexts, 0.5);
  for (size_t i = 0; i < kTexts.size(); ++i) {
    const auto alone = score(model, {kTexts[i]}, 0.5).front();
    EXPECT_EQ(alone.ids, together[i].ids);
    EXPECT_EQ(alone.boundary, together[i].boundary);
    EXPECT_EQ(alone.logprobs, together[i].logprobs);
  }
}

TEST(Score, IdsAreScoredAsTheyAre) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  const auto text = score(model, {kText}, 0.5).front();
  const auto same = score_ids(model, {text.ids}, 0.5).front();
  EXPECT_EQ(same.logprobs, text.logprobs);
  EXPECT_EQ(same.greedy, text.greedy);
  EXPECT_EQ(same.bytes, text.bytes);
  const auto without_bos = score_ids(model, {{text.ids.begin() + 1, text.ids.end()}}, 0.5).front();
  EXPECT_EQ(without_bos.tokens(), text.tokens() - 1);
  EXPECT_EQ(without_bos.bytes, text.bytes - 1);
  EXPECT_EQ(without_bos.logprobs.front(), 0.0);
}

TEST(Score, GreedyTokensAreTheMostLikely) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::llama));
  std::vector<int32_t> ids{static_cast<int32_t>(model.tokenizer->begin_of_text())};
  for (int i = 0; i < 8; ++i) {  // write greedily, then one token that is not the best
    Batch batch;
    batch.token_T = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong);
    batch.documents = Documents::from_offsets({0, static_cast<int64_t>(ids.size())});
    const auto y_TD = model.model->forward(batch, Decision::evaluation(0.5)).y_TD;
    const auto best = model.model->logits(y_TD)[-1].argmax().item<int64_t>();
    ids.push_back(static_cast<int32_t>(i < 7 ? best : (best + 1) % 258));
  }
  const auto document = score_ids(model, {ids}, 0.5).front();
  for (size_t t = 1; t < 8; ++t) EXPECT_TRUE(document.greedy[t]) << t;
  EXPECT_FALSE(document.greedy[8]);
}

TEST(Score, LongDocumentsStartAfreshEveryContext) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  const auto document = score(model, {kTexts.back()}, 0.55).front();
  for (size_t t = 0; t < document.ids.size(); t += 64) {
    EXPECT_EQ(document.boundary_prob[t], 1.0) << t;
    EXPECT_TRUE(document.boundary[t]) << t;
  }
  for (size_t t = 1; t < document.ids.size(); ++t) EXPECT_LT(document.logprobs[t], 0.0) << t;
}

TEST(Score, ThresholdDecidesWhereConceptsBegin) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  const auto few = score(model, {kText}, 0.9).front(), many = score(model, {kText}, 0.1).front();
  EXPECT_LT(few.concepts(), many.concepts());
  const auto all = score(model, {kText}, 0.0).front();
  EXPECT_EQ(all.concepts(), all.tokens());
  for (size_t t = 0; t < few.ids.size(); ++t) EXPECT_EQ(few.boundary[t], few.boundary_prob[t] >= 0.9);
}

TEST(Score, JsonHasOneEntryPerToken) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  const auto object = to_json(score(model, {"a\xC3\xA9"}, 0.5).front(), *model.tokenizer);
  const auto parsed = nlohmann::json::parse(object.dump());
  EXPECT_EQ(parsed.at("tokens"), (nlohmann::json{"<|bos|>", "a", "\uFFFD", "\uFFFD"}));
  EXPECT_EQ(parsed.at("ids"), (nlohmann::json{257, 97, 0xC3, 0xA9}));
  EXPECT_TRUE(parsed.at("logprobs")[0].is_null());
  EXPECT_TRUE(parsed.at("logprobs")[1].is_number());
  EXPECT_EQ(parsed.at("boundary_prob")[0], 1.0);
  EXPECT_EQ(parsed.at("boundary")[0], true);
  for (const auto* name : {"logprobs", "boundary_prob", "boundary"}) EXPECT_EQ(parsed.at(name).size(), 4u) << name;
  EXPECT_EQ(parsed.at("bytes"), 3);
  EXPECT_NEAR(parsed.at("bits_per_byte").get<double>(), parsed.at("nll").get<double>() / std::log(2.0) / 3, 1e-12);
}

TEST(Score, WhatDoesNotApplyIsNull) {
  const auto llama = test::tiny_model(test::tiny_config(ModelKind::llama));
  const auto object = nlohmann::json::parse(to_json(score(llama, {""}, 0.5).front(), *llama.tokenizer).dump());
  EXPECT_TRUE(object.at("boundary").is_null());
  EXPECT_TRUE(object.at("boundary_prob").is_null());
  EXPECT_TRUE(object.at("bits_per_byte").is_null());
  EXPECT_EQ(object.at("nll"), 0.0);
  EXPECT_EQ(object.at("ids"), nlohmann::json{257});
}

TEST(Evaluate, AgreesWithScore) {
  for (const auto kind : {ModelKind::dlcm, ModelKind::llama}) {
    const auto model = test::tiny_model(test::tiny_config(kind));
    const auto evaluation = evaluate(*model.model, batches_for(model, ids_of(model, kTexts)), *model.tokenizer, 0.55);
    double nll = 0.0;
    int64_t bytes = 0, tokens = 0, concepts = 0;
    for (const auto& document : score(model, kTexts, 0.55)) {
      nll += document.nll;
      bytes += document.bytes;
      tokens += document.tokens();
      concepts += document.concepts();
    }
    EXPECT_NEAR(evaluation.nll, nll, 1e-6 * nll);
    EXPECT_EQ(evaluation.bytes, bytes);
    EXPECT_EQ(evaluation.targets, bytes);
    EXPECT_EQ(evaluation.tokens, tokens);
    EXPECT_EQ(evaluation.concepts, concepts);
    EXPECT_EQ(evaluation.documents.size(), kTexts.size());
    EXPECT_NEAR(evaluation.loss(), nll / static_cast<double>(bytes), 1e-6);
    EXPECT_NEAR(evaluation.perplexity(), std::exp(evaluation.loss()), 1e-9);
    EXPECT_NEAR(evaluation.bits_per_byte(), evaluation.loss() / std::log(2.0), 1e-9);
  }
}

TEST(Evaluate, EndOfTextCountsNowhere) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  auto ids = ids_of(model, kTexts);
  const auto without = evaluate(*model.model, batches_for(model, ids), *model.tokenizer, 0.5);
  for (auto& document : ids) document.push_back(static_cast<int32_t>(model.tokenizer->end_of_text()));
  const auto with = evaluate(*model.model, batches_for(model, ids), *model.tokenizer, 0.5);
  EXPECT_EQ(with.targets, without.targets);
  EXPECT_EQ(with.tokens, without.tokens);
  EXPECT_EQ(with.concepts, without.concepts);
  EXPECT_EQ(with.p.size(), without.p.size());
  EXPECT_NEAR(with.nll, without.nll, 1e-2);
}

TEST(Evaluate, RatiosAndQuantilesComeFromTheScores) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  const auto documents = score(model, kTexts, 0.7);
  const auto evaluation = evaluate(*model.model, batches_for(model, ids_of(model, kTexts)), *model.tokenizer, 0.7);
  int64_t half = 0;
  double expected = 0.0;
  std::vector<double> p;
  for (const auto& document : documents) {
    for (const double value : document.boundary_prob) {
      half += value >= 0.5;
      const double high = std::pow(value, 4.0), low = std::pow(1.0 - value, 4.0);
      expected += high / (high + low);
      p.push_back(value);
    }
  }
  EXPECT_GT(half, evaluation.concepts);
  EXPECT_NEAR(*evaluation.ratio_half(), static_cast<double>(p.size()) / static_cast<double>(half), 1e-9);
  EXPECT_NEAR(*evaluation.ratio_sampled(), static_cast<double>(p.size()) / expected, 1e-6);
  const auto quantiles = evaluation.boundary_quantiles();
  ASSERT_EQ(quantiles.size(), 101u);
  std::sort(p.begin(), p.end());
  EXPECT_NEAR(quantiles.front(), p.front(), 1e-6);
  EXPECT_NEAR(quantiles[50], p[p.size() / 2], 5e-3);
  EXPECT_EQ(quantiles.back(), 1.0);
  EXPECT_TRUE(std::is_sorted(quantiles.begin(), quantiles.end()));
}

// The ratio that --ratio realises on the text whose quantiles are stored is the one asked for.
TEST(Evaluate, ThresholdOfARatioRealisesIt) {
  auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  std::string text;
  for (int i = 0; i < 40; ++i) text += kText + std::to_string(i * i);
  const auto batches = batches_for(model, ids_of(model, {text}));
  model.boundary_quantiles = evaluate(*model.model, batches, *model.tokenizer, 0.5).boundary_quantiles();
  for (const double ratio : {1.0, 2.0, 4.0, 8.0}) {
    const double threshold = threshold_for(model, {.threshold = {}, .ratio = ratio});
    EXPECT_NEAR(*evaluate(*model.model, batches, *model.tokenizer, threshold).ratio(), ratio, 0.05 * ratio);
  }
}

TEST(Evaluate, OtherRulesCountTheirBoundaries) {
  auto config = test::tiny_config(ModelKind::dlcm);
  config.parser.rule = BoundaryRule::stride;
  config.parser.ratio = 4.0;
  const auto model = test::tiny_model(config);
  const auto evaluation =
      evaluate(*model.model, batches_for(model, ids_of(model, {std::string(127, 'x')})), *model.tokenizer, 0.5);
  EXPECT_EQ(*evaluation.ratio(), 4.0);
  EXPECT_EQ(*evaluation.ratio_half(), 4.0);
  EXPECT_NEAR(*evaluation.ratio_sampled(), 4.0, 1e-12);
  EXPECT_TRUE(evaluation.boundary_quantiles().empty());
}

TEST(Evaluate, LlamaHasLossesOnly) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::llama));
  const auto evaluation = evaluate(*model.model, batches_for(model, ids_of(model, kTexts)), *model.tokenizer, 0.5);
  EXPECT_GT(evaluation.loss(), 0.0);
  EXPECT_FALSE(evaluation.ratio());
  EXPECT_FALSE(evaluation.ratio_half());
  EXPECT_FALSE(evaluation.ratio_sampled());
  EXPECT_FALSE(evaluation.ratio_spread());
  EXPECT_TRUE(evaluation.boundary_quantiles().empty());
}

TEST(Evaluation, SpreadLeavesShortDocumentsOut) {
  Evaluation evaluation;
  evaluation.documents = {{63, 63}, {64, 32}, {100, 25}, {640, 64}};
  const auto spread = evaluation.ratio_spread();
  ASSERT_TRUE(spread);
  EXPECT_NEAR((*spread)[0], 2.4, 1e-12);
  EXPECT_NEAR((*spread)[1], 4.0, 1e-12);
  EXPECT_NEAR((*spread)[2], 8.8, 1e-12);
  evaluation.documents = {{63, 3}};
  EXPECT_FALSE(evaluation.ratio_spread());
}

TEST(Evaluation, PartsAddUpToTheWhole) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  const auto evaluate_texts = [&](const std::vector<std::string>& texts) {
    return evaluate(*model.model, batches_for(model, ids_of(model, texts)), *model.tokenizer, 0.5);
  };
  auto sum = evaluate_texts({kTexts[0], kTexts[1]});
  sum.add(evaluate_texts({kTexts[2], kTexts[3]}));
  const auto whole = evaluate_texts(kTexts);
  EXPECT_NEAR(sum.nll, whole.nll, 1e-3);
  EXPECT_EQ(sum.targets, whole.targets);
  EXPECT_EQ(sum.bytes, whole.bytes);
  EXPECT_EQ(sum.tokens, whole.tokens);
  EXPECT_EQ(sum.concepts, whole.concepts);
  EXPECT_EQ(sum.concepts_half, whole.concepts_half);
  EXPECT_NEAR(sum.expected_concepts, whole.expected_concepts, 1e-3);
  EXPECT_EQ(sum.p.size(), whole.p.size());
  EXPECT_EQ(sum.documents.size(), whole.documents.size());
}

TEST(Evaluation, QuantilesAreInterpolated) {
  const std::vector<double> sorted{1.0, 2.0, 4.0};
  EXPECT_EQ(quantile_of_sorted(sorted, 0.0), 1.0);
  EXPECT_EQ(quantile_of_sorted(sorted, 0.25), 1.5);
  EXPECT_EQ(quantile_of_sorted(sorted, 0.5), 2.0);
  EXPECT_EQ(quantile_of_sorted(sorted, 0.75), 3.0);
  EXPECT_EQ(quantile_of_sorted(sorted, 1.0), 4.0);
  EXPECT_EQ(quantile_of_sorted({3.0}, 0.7), 3.0);
}

}  // namespace
}  // namespace dlcm
