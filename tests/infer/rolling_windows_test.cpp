#include "dlcm/infer/rolling_windows.h"

#include "dlcm/data/dataset.h"
#include "dlcm/infer/engine_evaluation.h"
#include "tests/infer/tiny_model.h"

#include <gtest/gtest.h>

#include <numeric>

namespace dlcm {
namespace {

// The example in lm-evaluation-harness's own description: ten tokens to predict, a context of four.
TEST(RollingWindows, AreTheHarnesss) {
  const std::vector<RollingWindow> expected{{0, 0, 0, 4}, {0, 4, 4, 8}, {0, 6, 8, 11}};
  EXPECT_EQ(rolling_windows({11}, 4), expected);
}

TEST(RollingWindows, PredictEveryTokenOnceWithAWholeContext) {
  for (int64_t predicted = 0; predicted <= 20; ++predicted) {
    for (const int64_t context : {1, 3, 4, 64}) {
      const auto windows = rolling_windows({1, predicted + 1}, context);
      ASSERT_EQ(windows.front(), (RollingWindow{0, 0, 0, 1}));
      int64_t next = 0;
      for (size_t i = 1; i < windows.size(); ++i) {
        const bool last = i + 1 == windows.size();
        EXPECT_EQ(windows[i].document, 1u);
        EXPECT_EQ(windows[i].first, next);
        EXPECT_EQ(windows[i].rows(), last ? std::min(context, predicted) + 1 : context);
        next = windows[i].end;
      }
      EXPECT_EQ(next, predicted + 1) << predicted << " in windows of " << context;
    }
  }
}

// The document <|bos|> 0 1 2 ... with `predicted` ids to predict.
std::vector<int32_t> document(int32_t predicted) {
  std::vector<int32_t> ids(static_cast<size_t>(predicted) + 1, 257);
  std::iota(ids.begin() + 1, ids.end(), 0);
  return ids;
}

class EngineEvaluation : public testing::TestWithParam<ModelKind> {
 protected:
  test::TinyModel model_ = test::tiny_model(test::tiny_config(GetParam()));
};

TEST_P(EngineEvaluation, OfShortDocumentsIsThatOfTheFullPass) {
  auto documents = std::vector{document(1), document(5), document(63)};
  documents[1].push_back(static_cast<int32_t>(model_.tokenizer->end_of_text()));
  documents[1].push_back(7);  // an id after <|endoftext|> counts
  const auto engine = evaluate(model_, documents, 0.5);
  const auto plain = evaluate(*model_.model, batches_of(documents, 64, 128), *model_.tokenizer, 0.5);
  EXPECT_NEAR(engine.nll, plain.nll, 1e-6 * plain.nll);
  EXPECT_EQ(engine.targets, plain.targets);
  EXPECT_EQ(engine.bytes, plain.bytes);
  EXPECT_EQ(engine.tokens, plain.tokens);
  EXPECT_EQ(engine.concepts, plain.concepts);
  EXPECT_EQ(engine.concepts_half, plain.concepts_half);
  EXPECT_NEAR(engine.expected_concepts, plain.expected_concepts, 1e-3);
  EXPECT_EQ(engine.p.size(), plain.p.size());
  EXPECT_EQ(engine.ratio().has_value(), plain.ratio().has_value());
  ASSERT_EQ(engine.documents.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(engine.documents[i].tokens, plain.documents[i].tokens);
    EXPECT_EQ(engine.documents[i].concepts, plain.documents[i].concepts);
  }
}

TEST_P(EngineEvaluation, DocumentsSideBySideAreThoseAlone) {
  std::vector<std::vector<int32_t>> documents;
  for (int32_t i = 0; i < 100; ++i) documents.push_back(document(1 + i * 37 % 250));
  const auto together = evaluate(model_, documents, 0.5);
  Evaluation alone;
  for (const auto& ids : documents) alone.add(evaluate(model_, {ids}, 0.5));
  EXPECT_NEAR(together.nll, alone.nll, 1e-12 * alone.nll);
  EXPECT_EQ(together.p, alone.p);
  EXPECT_EQ(together.concepts, alone.concepts);
}

INSTANTIATE_TEST_SUITE_P(Kinds, EngineEvaluation, testing::Values(ModelKind::dlcm, ModelKind::llama),
                         [](const auto& information) { return std::string(name_of(information.param)); });

}  // namespace
}  // namespace dlcm
