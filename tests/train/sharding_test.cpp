// Invariant 3 over whole steps: whatever the ranks, the micro-batches and what is sharded, ten optimiser steps give the
// same weights to rounding, and the same bits where only the sharding differs.
#include "dlcm/train/balance.h"
#include "dlcm/train/run.h"
#include "tests/support/gradients.h"
#include "tests/support/mixture.h"
#include "tests/support/models.h"
#include "tests/support/ranks.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>

namespace dlcm {
namespace {

constexpr int kSteps = 10;
constexpr std::array kShardings{Sharding::none, Sharding::optimizer, Sharding::gradients};

// ---- Buckets

TEST(Buckets, EveryElementHasOneOwnerAndItsPlace) {
  std::mt19937_64 random(3);
  for (int attempt = 0; attempt < 50; ++attempt) {
    std::vector<int64_t> sizes(1 + random() % 12);
    for (auto& size : sizes) size = static_cast<int64_t>(random() % 300);
    const auto ranks = static_cast<int64_t>(1 + random() % 7);
    const Buckets buckets(sizes, ranks, static_cast<int64_t>(1 + random() % 400));
    int64_t total = 0;
    for (size_t bucket = 0; bucket < buckets.size(); ++bucket) {
      EXPECT_EQ(buckets.elements(bucket) % ranks, 0);
      EXPECT_EQ(buckets.part_elements(bucket) * ranks, buckets.elements(bucket));
      total += buckets.elements(bucket);
      int64_t end = 0;
      for (const size_t parameter : buckets.parameters(bucket)) {
        EXPECT_EQ(buckets.place(parameter).bucket, bucket);
        EXPECT_GE(buckets.place(parameter).begin, end);
        end = buckets.place(parameter).begin + sizes[parameter];
      }
      EXPECT_LE(end, buckets.elements(bucket));
    }
    EXPECT_EQ(buckets.total_elements(), total);
    for (size_t parameter = 0; parameter < sizes.size(); ++parameter) {
      int64_t covered = 0;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const auto [first, count] = buckets.owned(parameter, rank);
        if (count == 0) continue;
        EXPECT_EQ(first, covered) << "ranks own rising ranges without a gap";
        covered += count;
        const auto [bucket, begin] = buckets.place(parameter);
        EXPECT_GE(begin + first, rank * buckets.part_elements(bucket));
        EXPECT_LE(begin + first + count, (rank + 1) * buckets.part_elements(bucket));
      }
      EXPECT_EQ(covered, sizes[parameter]);
    }
  }
}

TEST(Buckets, TheLastParametersComeFirst) {
  const Buckets buckets({100, 100, 5000, 100}, 2, 300);
  EXPECT_EQ(buckets.place(3).bucket, 0u);
  EXPECT_EQ(buckets.parameters(1), (std::vector<size_t>{2}));
  EXPECT_EQ(buckets.parameters(2), (std::vector<size_t>{1, 0}));
}

// ---- Sharing the windows

TEST(Balance, EveryWindowIsTakenOnceAndCountsDifferByAtMostOne) {
  std::mt19937_64 random(4);
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::vector<double> costs(1 + random() % 60);
    for (auto& cost : costs) cost = static_cast<double>(random() % 100);
    const auto ranks = static_cast<int64_t>(1 + random() % costs.size());
    const auto shares = share_windows(costs, ranks);
    ASSERT_EQ(shares.size(), static_cast<size_t>(ranks));
    std::vector<size_t> all;
    for (const auto& share : shares) {
      EXPECT_TRUE(std::is_sorted(share.begin(), share.end()));
      EXPECT_GE(share.size(), costs.size() / static_cast<size_t>(ranks));
      EXPECT_LE(share.size(), costs.size() / static_cast<size_t>(ranks) + 1);
      all.insert(all.end(), share.begin(), share.end());
    }
    std::sort(all.begin(), all.end());
    for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], i);
    EXPECT_EQ(all.size(), costs.size());
  }
}

TEST(Balance, LoadsAreCloserThanInTheOrderOfTheWindows) {
  std::mt19937_64 random(5);
  const auto imbalance = [](const std::vector<double>& loads) {
    return *std::max_element(loads.begin(), loads.end()) * static_cast<double>(loads.size()) /
           std::accumulate(loads.begin(), loads.end(), 0.0);
  };
  double dealt = 0.0, in_order = 0.0;
  for (int attempt = 0; attempt < 50; ++attempt) {
    std::vector<double> costs(64);
    for (auto& cost : costs) cost = 1.0 + static_cast<double>(random() % 1000) / 1000;
    std::vector<double> loads(8, 0.0), plain(8, 0.0);
    const auto shares = share_windows(costs, 8);
    for (size_t rank = 0; rank < 8; ++rank) {
      for (const size_t window : shares[rank]) loads[rank] += costs[window];
      for (size_t i = 0; i < 8; ++i) plain[rank] += costs[rank * 8 + i];
    }
    dealt += imbalance(loads) / 50;
    in_order += imbalance(plain) / 50;
  }
  EXPECT_LT(dealt, 1.01);
  EXPECT_GT(in_order, 1.08);
}

TEST(Balance, LongDocumentsAndShortConceptsCostMore) {
  Config config;
  config.model.vocabulary = 64;
  config.model.token.encoder_layers = config.model.token.decoder_layers = 1;
  const auto cost = [&](const std::vector<int64_t>& offsets, double ratio) {
    return expected_window_flops(config, offsets, ratio);
  };
  EXPECT_GT(cost({0, 512}, 4), cost({0, 256, 512}, 4));
  EXPECT_GT(cost({0, 512}, 2), cost({0, 512}, 4));
}

// ---- Training

std::string make_mixture(const test::TemporaryDirectory& directory) {
  return test::make_mixture(directory, {"web", "code"}, 200, [](const std::string& name, int index) {
    return std::string(1 + static_cast<size_t>(index * 7 % 40), name[static_cast<size_t>(index) % name.size()]) +
           std::to_string(index);
  });
}

struct Trained {
  std::vector<StepReport> reports;
  std::map<std::string, at::Tensor> weights;
};

class Training : public testing::Test {
 protected:
  Training() : mixture_(make_mixture(directory_), Split::train) {
    config_ = test::random_model_config(ModelKind::dlcm, 258);
    config_.train.context = 16;
    config_.train.tokens_per_step = 16 * 8;
    config_.train.micro_batch_tokens = 16 * 8;
    config_.train.steps = 1000;
    config_.schedule.warmup_steps = 0;
    config_.parser.loss_weight = 1.0;
  }

  // What every rank has after kSteps steps of `windows` windows a micro-batch.
  std::vector<Trained> train(int64_t ranks, int64_t windows, Sharding sharding, at::ScalarType type,
                             int64_t num_workers = 1) {
    auto config = config_;
    config.train.micro_batch_tokens = 16 * windows;
    std::vector<Trained> trained(static_cast<size_t>(ranks));
    test::on_ranks(ranks, [&](Communicator& communicator) {
      auto& own = trained[static_cast<size_t>(communicator.rank())];
      const auto model = test::double_model(config);
      model->to(type);
      test::fill_buffers(*model);
      Gradients gradients(*model, communicator, sharding, /*bucket_elements=*/2000);
      AdamW optimizer(*model, config, gradients.owned());
      const MixedWindows order(mixture_, config.train.seed, config.train.context);
      WorkerThreads workers(num_workers);
      for (int64_t step = 0; step < kSteps; ++step) {
        const auto data = read_step(order, config, step, communicator, {2.0, 3.0});
        own.reports.push_back(optimise(*model, optimizer, gradients, data, step, workers));
      }
      for (const auto& entry : model->named_parameters()) own.weights[entry.key()] = entry.value().detach().clone();
    });
    return trained;
  }

  static void expect_near(const Trained& actual, const Trained& expected, double tolerance) {
    for (size_t step = 0; step < kSteps; ++step) {
      const auto &left = actual.reports[step], &right = expected.reports[step];
      EXPECT_FALSE(left.skipped);
      EXPECT_NEAR(left.measured.loss, right.measured.loss, tolerance) << step;
      EXPECT_NEAR(left.measured.aux_loss, right.measured.aux_loss, tolerance) << step;
      EXPECT_NEAR(left.gradient_norm, right.gradient_norm, tolerance * right.gradient_norm) << step;
      EXPECT_EQ(left.measured.boundary_rate, right.measured.boundary_rate) << step;
    }
    for (const auto& [name, weight] : expected.weights) {
      EXPECT_LE(test::distance(actual.weights.at(name), weight), tolerance) << name;
    }
  }
  static void expect_equal(const Trained& actual, const Trained& expected) {
    for (const auto& [name, weight] : expected.weights) {
      EXPECT_TRUE(at::equal(actual.weights.at(name), weight)) << name;
    }
    for (size_t step = 0; step < kSteps; ++step) {
      EXPECT_EQ(actual.reports[step].gradient_norm, expected.reports[step].gradient_norm) << step;
    }
  }

  test::TemporaryDirectory directory_;
  Mixture mixture_;
  Config config_;
  test::Threads one_thread_{1};
};

TEST_F(Training, TenStepsAgreeForEverySplitAndEverySharding) {
  const auto expected = train(1, 8, Sharding::none, at::kDouble)[0];
  EXPECT_NE(expected.reports[0].measured.loss, expected.reports[kSteps - 1].measured.loss);
  // (ranks, windows a micro-batch): 1 x 4, 4 x 1, 2 x 2, and uneven ones.
  for (const auto& [ranks, windows] : {std::pair<int64_t, int64_t>{1, 2}, {4, 2}, {2, 2}, {3, 1}, {5, 8}}) {
    for (const auto sharding : kShardings) {
      SCOPED_TRACE(testing::Message() << ranks << " ranks, " << windows << " windows, " << name_of(sharding));
      for (const auto& rank : train(ranks, windows, sharding, at::kDouble)) expect_near(rank, expected, 1e-9);
    }
  }
}

TEST_F(Training, ShardingChangesNoBitAndAllRanksHoldTheSame) {
  for (const int64_t workers : {1, 2}) {
    const auto expected = train(4, 2, Sharding::none, at::kFloat, workers);
    for (const auto sharding : kShardings) {
      SCOPED_TRACE(testing::Message() << workers << " workers, " << name_of(sharding));
      for (const auto& rank : train(4, 2, sharding, at::kFloat, workers)) expect_equal(rank, expected[0]);
    }
  }
}

TEST_F(Training, WhatARankKeepsFallsWithTheRanks) {
  for (const int64_t ranks : {1, 2, 4}) {
    std::vector<int64_t> moments(static_cast<size_t>(ranks));
    int64_t all = 0;
    for (const auto& parameter : test::double_model(config_)->parameters()) all += parameter.numel();
    test::on_ranks(ranks, [&](Communicator& communicator) {
      const auto model = test::double_model(config_);
      const Gradients gradients(*model, communicator, Sharding::gradients, 2000);
      const AdamW optimizer(*model, config_, gradients.owned());
      for (const auto& slice : optimizer.state())
        moments[static_cast<size_t>(communicator.rank())] += slice.values.numel();
    });
    EXPECT_EQ(std::accumulate(moments.begin(), moments.end(), int64_t{0}), 2 * all + ranks);
    for (const int64_t kept : moments)
      EXPECT_NEAR(static_cast<double>(kept), 2.0 * static_cast<double>(all / ranks), 500.0);
  }
}

TEST_F(Training, StateGoesThroughAFileFromAnyNumberOfRanksToAnyOther) {
  const std::string path = directory_ / "state.safetensors";
  const auto state_of = [&](int64_t ranks, Sharding sharding, bool loads) {
    test::on_ranks(ranks, [&](Communicator& communicator) {
      const auto model = test::double_model(config_);
      Gradients gradients(*model, communicator, sharding, 2000);
      AdamW optimizer(*model, config_, gradients.owned());
      if (loads) {
        optimizer.load(MappedSafeTensors(path));
      } else {
        std::vector<at::Tensor> values;
        for (const auto& value : gradients.owned()) {
          values.push_back(at::arange(value.first + 1, value.first + value.count + 1, at::kDouble));
        }
        optimizer.update(1.0, 1.0, values);
      }
      const std::string target = loads ? path + ".again" : path;
      if (communicator.rank() == 0) create_safetensors(target, optimizer.state_shapes());
      communicator.barrier();
      write_slices(target, optimizer.state());
    });
  };
  const auto content = [](const std::string& file) {
    const auto loaded = load_safetensors(file);
    std::string bytes;
    for (const auto& [name, tensor] : loaded.tensors) {
      bytes += name;
      bytes.append(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    }
    return bytes;
  };
  state_of(1, Sharding::none, false);
  const auto expected = content(path);
  for (const auto& [from, to] : {std::pair<int64_t, int64_t>{4, 1}, {4, 2}, {2, 3}, {1, 4}, {3, 5}}) {
    state_of(from, Sharding::optimizer, false);
    EXPECT_TRUE(content(path) == expected) << from << " ranks wrote something else";
    state_of(to, Sharding::gradients, true);
    EXPECT_TRUE(content(path + ".again") == expected) << from << " to " << to;
  }
}

}  // namespace
}  // namespace dlcm
