// The simulated step: its limits are known by heart.
#include "dlcm/scaling/cluster_simulation.h"

#include "dlcm/model/flops.h"
#include "dlcm/util/error.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace dlcm {
namespace {

Config base() { return load_config(DLCM_SOURCE_DIR "/configs/base.toml"); }

Cluster machines(int64_t devices) {
  return {.devices = devices,
          .peak_flops = 1e12,
          .memory_bytes = 1e10,
          .mfu = 0.5,
          .link_bytes_per_second = 1e9,
          .latency_seconds = 0.0,
          .message_seconds = 0.0};
}

TEST(ClusterSimulation, OneDeviceComputesAndSendsNothing) {
  auto config = base();
  const auto step = simulate_step(config, machines(1), 1);
  const auto flops = expected_flops_per_token(config);
  const auto tokens = static_cast<double>(config.train.tokens_per_step);
  EXPECT_EQ(step.micro_batches, 2);
  EXPECT_NEAR(step.compute_seconds, tokens * (3 * flops.total() + flops.encoder + flops.parser) / 0.5e12, 1e-9);
  EXPECT_EQ(step.bytes_sent, 0.0);
  EXPECT_EQ(step.exposed_seconds, 0.0);
}

TEST(ClusterSimulation, WithFastLinksTheSpeedGrowsWithTheDevices) {
  auto cluster = machines(16);
  cluster.link_bytes_per_second = 1e18;
  const auto plan = plan_cluster(base(), cluster, 1e9);
  ASSERT_EQ(plan.steps.size(), 5u);
  EXPECT_EQ(plan.steps.back().ranks, 16);
  for (const auto& step : plan.steps) EXPECT_GE(plan.efficiency(step), 1.0 - 1e-6);
  EXPECT_NEAR(plan.hours(plan.steps[0]), 1e9 / plan.tokens_per_second(plan.steps[0]) / 3600, 1e-9);
}

TEST(ClusterSimulation, ASlowLinkIsTheStep) {
  auto cluster = machines(4);
  cluster.link_bytes_per_second = 1e5;
  for (const auto sharding : {Sharding::none, Sharding::optimizer, Sharding::gradients}) {
    auto config = base();
    config.dist.sharding = sharding;
    const auto step = simulate_step(config, cluster, 4);
    EXPECT_NEAR(step.communication_seconds, step.bytes_sent / 1e5, 0.01 * step.communication_seconds)
        << name_of(sharding);
    EXPECT_NEAR(step.seconds(), step.communication_seconds, 0.01 * step.seconds() + step.compute_seconds);
  }
}

TEST(ClusterSimulation, TheBackwardPassHidesWhatFitsIntoIt) {
  const auto config = base();
  const auto hidden = simulate_step(config, machines(4), 4);
  EXPECT_GT(hidden.communication_seconds, 0.0);
  EXPECT_LT(hidden.exposed_seconds, 0.2 * hidden.communication_seconds);
  auto sharded = config;
  sharded.dist.sharding = Sharding::optimizer;
  EXPECT_GT(simulate_step(sharded, machines(4), 4).exposed_seconds, 0.4 * hidden.communication_seconds)
      << "weights go out after the update";
}

TEST(ClusterSimulation, ShardingDividesWhatADeviceKeeps) {
  auto config = base();
  const auto kept = [&](Sharding sharding, int64_t ranks) {
    config.dist.sharding = sharding;
    auto none = config;
    none.dist.sharding = Sharding::none;
    return simulate_step(none, machines(ranks), ranks).memory_bytes -
           simulate_step(config, machines(ranks), ranks).memory_bytes;
  };
  const double parameters = 4.0 * static_cast<double>(count_parameters(config).total());
  EXPECT_NEAR(kept(Sharding::optimizer, 2), parameters, 100);
  EXPECT_NEAR(kept(Sharding::optimizer, 4), 1.5 * parameters, 100);
  EXPECT_NEAR(kept(Sharding::gradients, 4), 2.25 * parameters, 100);
}

TEST(ClusterSimulation, MoreDevicesThanWindowsAreRefused) {
  EXPECT_THROW(simulate_step(base(), machines(17), 17), Error);
  const auto json = to_json(plan_cluster(base(), machines(4), 1e9));
  EXPECT_EQ(json.at("steps").size(), 3u);
  EXPECT_NE(cluster_text(plan_cluster(base(), machines(4), 1e9), base(), machines(4)).find("devices"),
            std::string::npos);
}

}  // namespace
}  // namespace dlcm
