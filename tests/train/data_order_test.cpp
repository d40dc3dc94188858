// Invariant: a step's windows, their places and their draws are the same whatever the ranks and the micro-batches.
#include "dlcm/train/run.h"
#include "tests/support/mixture.h"

#include <gtest/gtest.h>

#include <map>

namespace dlcm {
namespace {

class Rank final : public Communicator {
 public:
  Rank(int64_t rank, int64_t world_size) : rank_(rank), world_size_(world_size) {}
  int64_t rank() const override { return rank_; }
  int64_t world_size() const override { return world_size_; }
  std::string name_of(int64_t) const override { return "a rank"; }
  Pending reduce_scatter_sum(const at::Tensor&) override { return nullptr; }
  Pending all_gather(const at::Tensor&) override { return nullptr; }

 private:
  int64_t rank_, world_size_;
};

std::string make_mixture(const test::TemporaryDirectory& directory) {
  return test::make_mixture(directory, {"web", "code", "mathematics"}, 300,
                            [](const std::string& name, int index) { return name + std::to_string(index); });
}

// The windows of one step by their place in it: tokens, then targets.
std::map<int64_t, std::vector<int64_t>> step_windows(const Mixture& mixture, const Config& config, int64_t step,
                                                     int64_t world_size) {
  std::map<int64_t, std::vector<int64_t>> windows;
  for (int64_t rank = 0; rank < world_size; ++rank) {
    const MixedWindows order(mixture, config.train.seed, config.train.context);  // every rank has its own
    const auto data = read_step(order, config, step, Rank(rank, world_size));
    EXPECT_EQ(data.totals.tokens, config.train.tokens_per_step);
    for (const Batch& batch : data.micro_batches) {
      for (int64_t row = 0; row < batch.tokens(); row += config.train.context) {
        auto& window = windows[batch.index_T[row].item<int64_t>()];
        EXPECT_TRUE(window.empty()) << "read twice";
        for (const auto& tensor : {batch.token_T, batch.target_T}) {
          for (int64_t i = row; i < row + config.train.context; ++i) window.push_back(tensor[i].item<int64_t>());
        }
      }
    }
  }
  return windows;
}

TEST(DataOrder, IsTheSameWhateverTheRanksAndMicroBatches) {
  const test::TemporaryDirectory directory;
  const Mixture mixture(make_mixture(directory), Split::train);
  Config config;
  config.train.context = 16;
  config.train.tokens_per_step = 16 * 24;
  config.train.seed = 5;
  config.model.vocabulary = 258;  // what windows cost depends on the head, too
  for (const int64_t step : {0, 1, 77}) {
    config.train.micro_batch_tokens = config.train.tokens_per_step;
    const auto expected = step_windows(mixture, config, step, 1);
    EXPECT_EQ(expected.size(), 24u);
    for (const int64_t windows_per_batch : {1, 2, 3, 6, 12}) {
      config.train.micro_batch_tokens = 16 * windows_per_batch;
      for (const int64_t world_size : {1, 2, 4, 24}) {
        EXPECT_TRUE(step_windows(mixture, config, step, world_size) == expected)
            << windows_per_batch << " windows a micro-batch, " << world_size << " ranks";
      }
    }
  }
}

}  // namespace
}  // namespace dlcm
