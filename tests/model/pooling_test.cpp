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

}  // namespace
}  // namespace dlcm
