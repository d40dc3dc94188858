#include "dlcm/infer/rolling_windows.h"

#include "dlcm/data/dataset.h"
#include "dlcm/infer/evaluation.h"
#include "tests/infer/tiny_model.h"

#include <gtest/gtest.h>

#include <numeric>

namespace dlcm {
namespace {

struct Window {
  std::vector<int64_t> tokens, targets;
  std::vector<bool> counts;

  bool operator==(const Window&) const = default;
};

// The document <first id 100> 0 1 2 ... with `predicted` ids to predict.
std::vector<int32_t> document(int32_t predicted) {
  std::vector<int32_t> ids(static_cast<size_t>(predicted) + 1, 100);
  std::iota(ids.begin() + 1, ids.end(), 0);
  return ids;
}

std::vector<Window> windows_of(const std::vector<std::vector<int32_t>>& documents, int64_t context,
                               int64_t batch_tokens) {
  std::vector<Window> windows;
  for (const auto& [batch, counts_T] : rolling_windows(documents, context, batch_tokens)) {
    for (int64_t i = 0; i < batch.documents.size(); ++i) {
      auto& window = windows.emplace_back();
      for (int64_t t = batch.documents.offsets[i]; t < batch.documents.offsets[i + 1]; ++t) {
        window.tokens.push_back(batch.token_T[t].item<int64_t>());
        window.targets.push_back(batch.target_T[t].item<int64_t>());
        window.counts.push_back(counts_T[t].item<bool>());
      }
    }
  }
  return windows;
}

// The example in lm-evaluation-harness's own description: ten tokens, a context of four.
TEST(RollingWindows, AreTheHarnesss) {
  const std::vector<Window> expected{
      {{100, 0, 1, 2}, {0, 1, 2, 3}, {true, true, true, true}},
      {{3, 4, 5, 6}, {4, 5, 6, 7}, {true, true, true, true}},
      {{5, 6, 7, 8, 9}, {-1, -1, 8, 9, -1}, {false, false, true, true, true}},
  };
  EXPECT_EQ(windows_of({document(10)}, 4, 4), expected);
  EXPECT_EQ(windows_of({document(10)}, 4, 100), expected);
}

TEST(RollingWindows, PredictEveryTokenOnceWithAWholeContext) {
  for (int32_t predicted = 0; predicted <= 20; ++predicted) {
    for (const int64_t context : {1, 3, 4, 64}) {
      std::vector<int64_t> targets;
      int64_t counted = 0;
      const auto windows = windows_of({document(predicted)}, context, 64);
      for (const auto& window : windows) {
        const int64_t rows = &window == &windows.back() ? std::min<int64_t>(context, predicted) + 1 : context;
        EXPECT_EQ(static_cast<int64_t>(window.tokens.size()), rows);
        std::copy_if(window.targets.begin(), window.targets.end(), std::back_inserter(targets),
                     [](int64_t target) { return target >= 0; });
        counted += std::count(window.counts.begin(), window.counts.end(), true);
      }
      std::vector<int64_t> all(static_cast<size_t>(predicted));
      std::iota(all.begin(), all.end(), 0);
      EXPECT_EQ(targets, all) << predicted << " in windows of " << context;
      EXPECT_EQ(counted, predicted + 1);
    }
  }
}

TEST(RollingWindows, OfShortDocumentsEvaluateAsTheyAre) {
  const auto model = test::tiny_model(test::tiny_config(ModelKind::dlcm));
  std::vector<std::vector<int32_t>> documents;
  for (const int32_t length : {1, 5, 63}) {
    documents.push_back(document(length));
    documents.back().front() = static_cast<int32_t>(model.tokenizer->begin_of_text());
  }
  const auto rolling = evaluate(*model.model, rolling_windows(documents, 64, 128), *model.tokenizer, 0.5);
  const auto plain = evaluate(*model.model, batches_of(documents, 64, 128), *model.tokenizer, 0.5);
  EXPECT_NEAR(rolling.nll, plain.nll, 1e-4);
  EXPECT_EQ(rolling.concepts, plain.concepts);
  EXPECT_EQ(rolling.tokens, plain.tokens);
  EXPECT_EQ(rolling.documents.size(), 3u);
}

}  // namespace
}  // namespace dlcm
