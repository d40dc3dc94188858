// Pooling against what it is defined to be, written out.
#include "dlcm/model/pooling.h"

#include "dlcm/model/segmentation.h"
#include "dlcm/ops/rms_norm.h"
#include "tests/model/stages.h"
#include "tests/support/gradients.h"

#include <gtest/gtest.h>

#include <random>

namespace dlcm {
namespace {

using test::distance;
using test::parameter;
using test::randomise;
using test::Tensors;

TEST(Pooling, PlaceHoldsTheConceptBeforeIt) {
  std::mt19937_64 random(2);
  Pooling pooling(test::random_model_config(ModelKind::dlcm));
  randomise(pooling);
  const auto documents = Documents::from_offsets({0, 17, 18, 30});
  const auto boundary_T = test::random_boundaries(documents, random);
  const auto segmentation = Segmentation::from(boundary_T, documents);
  const auto literal = [&](const Tensors& x) {
    const auto h = rms_norm_reference(x[0], parameter(*pooling, "norm.gain"), 1e-5);
    std::vector<at::Tensor> rows;
    for (int64_t place = 0; place < segmentation.concepts(); ++place) {
      const int64_t token = segmentation.start_S[place].item<int64_t>();
      if (documents.position_T[token].item<int64_t>() == 0) {
        rows.push_back(pooling->start_concept_W);
      } else {
        const int64_t begin = segmentation.start_S[place - 1].item<int64_t>();
        rows.push_back(at::mv(parameter(*pooling, "up.weight"), h.slice(0, begin, token).mean(0)));
      }
    }
    return at::stack(rows);
  };
  test::expect_equal_to_reference([&](const Tensors& x) { return pooling->forward(x[0], segmentation); }, literal,
                                  {at::randn({30, 16}, at::kDouble)});
}

TEST(Pooling, ConceptThroughTheOpeningTokenEndsWithIt) {
  std::mt19937_64 random(3);
  auto config = test::random_model_config(ModelKind::dlcm);
  config.model.pooling = PoolingSpan::through_opening;
  Pooling pooling(config);
  randomise(pooling);
  const auto documents = Documents::from_offsets({0, 17, 18, 30});
  const auto boundary_T = test::random_boundaries(documents, random);
  const auto segmentation = Segmentation::from(boundary_T, documents);
  const auto literal = [&](const Tensors& x) {
    const auto h = rms_norm_reference(x[0], parameter(*pooling, "norm.gain"), 1e-5);
    std::vector<at::Tensor> rows, since;
    for (int64_t t = 0; t < 30; ++t) {
      const bool is_first = documents.position_T[t].item<int64_t>() == 0;
      if (is_first) since.clear();
      since.push_back(h[t]);
      if (!boundary_T[t].item<bool>()) continue;
      if (is_first) {
        rows.push_back(pooling->start_concept_W);
      } else {
        rows.push_back(at::mv(parameter(*pooling, "up.weight"), at::stack(since).mean(0)));
        since.clear();
      }
    }
    return at::stack(rows);
  };
  test::expect_equal_to_reference([&](const Tensors& x) { return pooling->forward(x[0], segmentation); }, literal,
                                  {at::randn({30, 16}, at::kDouble)});
}

}  // namespace
}  // namespace dlcm
