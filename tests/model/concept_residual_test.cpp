// The concept that is added to its tokens (model.concept_residual).
#include "dlcm/model/concept_residual.h"

#include "tests/model/stages.h"
#include "tests/support/gradients.h"

#include <gtest/gtest.h>

namespace dlcm {
namespace {

// Places at tokens 0, 3 and 4 of a first document and 5 of a second one.
struct ResidualProblem {
  explicit ResidualProblem(ParserGradient gradient) {
    config.parser.gradient = gradient;
    module = ConceptResidual(config);
    at::manual_seed(4);
    test::randomise(module);
    boundary_T = test::tensor_of({1, 0, 0, 1, 1, 1, 0}).to(at::kBool);
    segmentation = Segmentation::from(boundary_T, Documents::from_offsets({0, 5, 7}));
    h_TD = at::randn({7, 16}, at::kDouble);
    z_SW = at::randn({4, 24}, at::kDouble);
    p_T = at::rand({7}, at::kDouble);
  }
  at::Tensor forward(const at::Tensor& h, const at::Tensor& z, const at::Tensor& p) {
    return module->forward(h, z, segmentation, {p, boundary_T});
  }

  Config config = test::random_model_config(ModelKind::dlcm);
  ConceptResidual module{nullptr};
  at::Tensor boundary_T, h_TD, z_SW, p_T;
  Segmentation segmentation;
};

TEST(ConceptResidual, EachTokenGetsItsOwnPlace) {
  ResidualProblem problem(ParserGradient::decoupled);
  const auto read = problem.forward(problem.h_TD, problem.z_SW, problem.p_T) - problem.h_TD;
  const auto& down = test::parameter(*problem.module, "down.weight");
  const std::vector<int64_t> place{0, 0, 0, 1, 2, 3, 3};
  for (int64_t t = 0; t < 7; ++t) {
    EXPECT_LT(test::distance(read[t], at::mv(down, problem.z_SW[place[static_cast<size_t>(t)]])), 1e-12) << t;
  }
}

TEST(ConceptResidual, StraightThroughChangesNoValueAndReachesTheScores) {
  ResidualProblem decoupled(ParserGradient::decoupled), straight(ParserGradient::straight_through);
  auto p_T = straight.p_T.clone().requires_grad_();
  const auto found = straight.forward(straight.h_TD, straight.z_SW, p_T);
  EXPECT_TRUE(at::equal(found, decoupled.forward(straight.h_TD, straight.z_SW, straight.p_T)));
  found.sum().backward();
  // By c, which is p at a boundary and 1 - p elsewhere: what the token read.
  const auto read_T = (found - straight.h_TD).sum(1).detach();
  EXPECT_LT(test::distance(p_T.grad(), at::where(straight.boundary_T, read_T, -read_T)), 1e-12);
}

}  // namespace
}  // namespace dlcm
