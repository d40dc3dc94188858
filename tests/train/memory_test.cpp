// The largest vocabulary of the paper must fit: a step never holds T x V logits.
#include "tests/support/memory.h"
#include "dlcm/train/run.h"

#include <gtest/gtest.h>

#include <string>

namespace dlcm {
namespace {

TEST(Memory, AStepWithTheLargestVocabularyStaysBelowOneGigabyteAboveWeightsGradientsAndMoments) {
  const auto config = parse_config(R"(
    [model]
    kind = "llama"
    vocabulary = 128815
    [model.token]
    width = 256
    layers = 2
    feed_forward = 768
    heads = 4
    kv_heads = 4
    [train]
    context = 8192
    tokens_per_step = 8192
    micro_batch_tokens = 8192
    precision = "fp32"
  )",
                                   "test");
  set_threads(config);
  const auto model = make_model(config);
  AdamW optimizer(*model, config);
  WorkerThreads workers(number_of_workers(config));
  SingleProcess communicator;
  Gradients gradients(*model, communicator);
  StepData data;
  Batch batch;
  batch.token_T = at::arange(8192, at::kLong) * 15;
  batch.target_T = batch.token_T + 1;
  batch.documents = Documents::from_offsets({0, 8192});
  batch.index_T = at::arange(8192, at::kLong);
  data.micro_batches.push_back(batch);
  data.totals = {.tokens = 8192, .targets = 8192};
  // Touch the moments, so that what the step adds is the step's own.
  optimise(*model, optimizer, gradients, {{}, {}, data.totals}, 0, workers);
  test::reset_peak_memory();
  const auto kept = test::peak_resident_bytes();
  ASSERT_GT(kept, 0);
  const auto report = optimise(*model, optimizer, gradients, data, 1, workers);
  EXPECT_FALSE(report.skipped);
  const double extra = static_cast<double>(test::peak_resident_bytes() - kept);
  RecordProperty("extra_bytes", std::to_string(extra));
  std::printf("peak above weights, gradients and moments: %.0f MB\n", extra / 1e6);
  EXPECT_LT(extra, 1e9);
}

}  // namespace
}  // namespace dlcm
