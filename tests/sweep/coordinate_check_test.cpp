// The coordinate check on a tiny model: flat with muP, steep without.
#include "dlcm/sweep/coordinate_check.h"

#include "dlcm/data/build.h"
#include "tests/analysis/synthetic_run.h"

#include <gtest/gtest.h>

#include <sstream>

namespace dlcm::test {
namespace {

CoordinateRequest request(const TemporaryDirectory& directory) {
  std::mt19937 random(5);
  std::string text;
  for (int i = 0; i < 3000; ++i) {
    text +=
        "the cat sat on a mat and ate " + std::string(1 + random() % 3, static_cast<char>('a' + random() % 26)) + " ";
    if (random() % 40 == 0) text += "\n<|endoftext|>\n";
  }
  write_text(directory / "text.txt", text);
  std::istringstream nothing;
  DataBuild build;
  build.tokenizer = "bytes";
  build.inputs = {directory / "text.txt"};
  build.output = directory / "data";
  build.validation_fraction = 0.1;
  build_data(build, nothing);
  return {.config = load_config(fmt::format("{}/configs/tiny.toml", DLCM_SOURCE_DIR)),
          .data = directory / "data",
          .widths = {1, 2, 4, 8},
          .steps = 5};
}

TEST(CoordinateCheck, MupKeepsUpdatesFlatOverWidth) {
  TemporaryDirectory directory;
  const auto asked = request(directory);
  const auto coordinates = coordinate_check(asked);
  // 2 ways, 4 widths, 6 records, of embedding, encoder, parser, concepts, backbone, cross-attention, decoder and
  // logits.
  EXPECT_EQ(coordinates.size(), 2U * 4U * 6U * 8U);
  for (const auto& one : coordinates) {
    EXPECT_EQ(one.update == 0.0, one.step == 0) << one.component;
    EXPECT_TRUE(std::isfinite(one.activation));
  }
  const auto slopes = coordinate_slopes(coordinates);
  ASSERT_EQ(slopes.size(), 8U);
  double steepest_with = 0.0, steepest_without = 0.0;
  for (const auto& slope : slopes) {
    if (slope.component == "parser") {
      EXPECT_LT(slope.with_mup, 0.1);  // p, of cosines that begin near 0 in wide models and may shrink
      continue;
    }
    steepest_with = std::max(steepest_with, std::abs(slope.with_mup));
    steepest_without = std::max(steepest_without, slope.without);
    if (slope.component == "logits") {
      EXPECT_GT(slope.without, slope.with_mup + 0.4);
    }
  }
  EXPECT_LT(steepest_with, 0.5);
  EXPECT_GT(steepest_without, 0.7);
  EXPECT_TRUE(has(chart_page(coordinate_page(coordinates)), "grows as width^"));
  EXPECT_EQ(coordinate_table(coordinates).rows(), coordinates.size());
}

TEST(CoordinateCheck, WidensEverythingButTheHeads) {
  const auto config = synthetic_config({});
  const auto wide = widened(config, 4, true);
  EXPECT_EQ(wide.model.token.width, 4 * config.model.token.width);
  EXPECT_EQ(wide.model.token.stack(1).head_size(), config.model.token.stack(1).head_size());
  EXPECT_EQ(wide.model.concepts.feed_forward, 4 * config.model.concepts.feed_forward);
  EXPECT_EQ(wide.token_multiplier(), 4.0);
  EXPECT_EQ(wide.concept_multiplier(), 4.0);
  EXPECT_EQ(widened(config, 4, false).token_multiplier(), 1.0);
}

TEST(CoordinateCheck, RefusesWidthsThatDoNotRise) {
  TemporaryDirectory directory;
  auto asked = request(directory);
  asked.widths = {4};
  EXPECT_THROW(coordinate_check(asked), Error);
  asked.widths = {2, 1};
  EXPECT_THROW(coordinate_check(asked), Error);
}

}  // namespace
}  // namespace dlcm::test
