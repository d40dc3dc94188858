// Invariant 2 of the model: cached decoding equals the full forward pass, for every split into prefill and steps and
// every mix of sequences.
#include "tests/infer/tiny_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace dlcm {
namespace {

constexpr double kTolerance = 1e-10;
// Scores this close to the threshold may be rounded to either side: then the decision is handed over.
constexpr double kTooClose = 1e-5;

struct Case {
  std::string name;
  Config config;
};

std::vector<Case> cases() {
  std::vector<Case> all{{"llama", test::tiny_config(ModelKind::llama)}};
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
          all.push_back(
              {fmt::format("{}_{}_{}_{}_concept_layers", name_of(rule), name_of(smoothing), name_of(reading), layers),
               config});
        }
      }
    }
  }
  return all;
}

class CachedDecoding : public testing::TestWithParam<Case> {
 protected:
  static constexpr int64_t kLengths[] = {57, 1, 33};

  CachedDecoding() : model_(test::tiny_model(GetParam().config).model) {
    // Module::to converts the whitespace table, too; it stays a table of bytes.
    model_->to(at::kDouble);
    for (auto& buffer : model_->named_buffers()) {
      if (buffer.key().ends_with("opens_word")) buffer.value().set_data(buffer.value().to(at::kByte));
    }
    std::vector<int64_t> offsets{0}, tokens;
    for (const int64_t length : kLengths) {
      for (int64_t i = 0; i < length; ++i) tokens.push_back(std::uniform_int_distribution<int64_t>(0, 255)(random_));
      offsets.push_back(offsets.back() + length);
    }
    batch_.token_T = at::tensor(tokens, at::kLong);
    batch_.documents = Documents::from_offsets(offsets);
    full_ = model_->forward(batch_, Decision::evaluation(0.5));
    if (GetParam().config.parser.rule != BoundaryRule::learned || !full_.cut) return;
    threshold_ = full_.cut->p_T.median().item<double>();
    full_ = model_->forward(batch_, Decision::evaluation(threshold_));
    is_forced_ = (full_.cut->p_T - threshold_).abs().lt(kTooClose).any().item<bool>();
  }

  // Decodes all documents in rounds; `next` says how many tokens of a document come in a round, given how many are
  // left. Documents with none in a round are not part of its batch.
  template <typename Next>
  void expect_equal_to_full_pass(Next next) {
    std::vector<std::unique_ptr<DecodingState>> states;
    std::vector<int64_t> read(std::size(kLengths), 0);
    for (size_t document = 0; document < read.size(); ++document) states.push_back(model_->new_state());
    for (bool reading = true; reading;) {
      reading = false;
      std::vector<int64_t> rows, offsets{0};
      std::vector<DecodingState*> members;
      for (size_t document = 0; document < read.size(); ++document) {
        const int64_t left = kLengths[document] - read[document];
        const int64_t count = left == 0 ? 0 : std::min<int64_t>(left, next(document, left));
        reading = reading || left > count;
        if (count == 0) continue;
        for (int64_t i = 0; i < count; ++i) {
          rows.push_back(batch_.documents.offsets[document] + read[document] + i);
        }
        read[document] += count;
        offsets.push_back(offsets.back() + count);
        members.push_back(states[document].get());
      }
      if (!members.empty()) expect_step(rows, offsets, members);
    }
  }

  void expect_step(const std::vector<int64_t>& rows, const std::vector<int64_t>& offsets,
                   const std::vector<DecodingState*>& members) {
    const auto row_T = at::tensor(rows, at::kLong);
    Batch part;
    part.token_T = batch_.token_T.index_select(0, row_T);
    part.documents = Documents::from_offsets(offsets);
    const auto decision =
        is_forced_ ? Decision::forced(full_.cut->boundary_T.index_select(0, row_T)) : Decision::evaluation(threshold_);
    const auto output = model_->step(part, decision, members);
    const auto expected = model_->logits(full_.y_TD.index_select(0, row_T));
    EXPECT_LT((model_->logits(output.y_TD) - expected).abs().max().item<double>(), kTolerance) << "rows " << row_T;
    ASSERT_EQ(output.cut.has_value(), full_.cut.has_value());
    if (!output.cut) return;
    EXPECT_TRUE(at::equal(output.cut->boundary_T, full_.cut->boundary_T.index_select(0, row_T)));
    EXPECT_LT((output.cut->p_T - full_.cut->p_T.index_select(0, row_T)).abs().max().item<double>(), kTolerance);
  }

  at::NoGradGuard no_gradient_;
  std::mt19937_64 random_{20240611};
  std::shared_ptr<LanguageModel> model_;
  Batch batch_;
  Output full_;
  double threshold_ = 0.5;
  bool is_forced_ = false;
};

TEST_P(CachedDecoding, TestModelIsNotTrivial) {
  const auto logits = model_->logits(full_.y_TD);
  EXPECT_GT(logits.std().item<double>(), 0.1);
  if (!full_.cut) return;
  const auto concepts = full_.cut->boundary_T.sum().item<int64_t>();
  EXPECT_GT(concepts, 8);
  EXPECT_LT(concepts, 80);
}

TEST_P(CachedDecoding, TokenByTokenEqualsFullPass) {
  expect_equal_to_full_pass([](size_t, int64_t) { return 1; });
}

TEST_P(CachedDecoding, WholePrefillEqualsFullPass) {
  expect_equal_to_full_pass([](size_t, int64_t left) { return left; });
}

TEST_P(CachedDecoding, SequencesOneAfterAnotherEqualFullPass) {
  size_t current = 0;
  expect_equal_to_full_pass([&](size_t document, int64_t left) -> int64_t {
    if (document != current) return 0;
    if (left <= 7) ++current;
    return 7;
  });
}

TEST_P(CachedDecoding, EveryRaggedSplitEqualsFullPass) {
  for (int trial = 0; trial < 4; ++trial) {
    expect_equal_to_full_pass([&](size_t, int64_t left) {
      const int kind = std::uniform_int_distribution<int>(0, 3)(random_);
      if (kind == 0) return int64_t{0};  // sits this round out
      if (kind == 1) return int64_t{1};
      return std::uniform_int_distribution<int64_t>(1, left)(random_);
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Models, CachedDecoding, testing::ValuesIn(cases()),
                         [](const auto& information) { return information.param.name; });

}  // namespace
}  // namespace dlcm
