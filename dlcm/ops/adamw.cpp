#include "dlcm/ops/adamw.h"

#include "dlcm/ops/parallel_tasks.h"
#include "dlcm/ops/row_kernels.h"

#include <cmath>
#include <numeric>

namespace dlcm {
namespace {

// A stretch of one tensor that one task takes.
struct Stretch {
  size_t tensor;
  int64_t first, count;
};

constexpr int64_t kStretch = 32768;

std::vector<Stretch> stretches(at::TensorList tensors) {
  std::vector<Stretch> all;
  for (size_t tensor = 0; tensor < tensors.size(); ++tensor) {
    TORCH_CHECK(tensors[tensor].is_contiguous(), "adamw: expected contiguous tensors");
    const int64_t size = tensors[tensor].numel();
    for (int64_t first = 0; first < size; first += kStretch) {
      all.push_back({tensor, first, std::min(kStretch, size - first)});
    }
  }
  return all;
}

}  // namespace

void adamw(at::TensorList parameters, at::TensorList gradients, at::TensorList first_moments,
           at::TensorList second_moments, const AdamWStep& step) {
  for (const auto& list : {gradients, first_moments, second_moments}) {
    TORCH_CHECK(list.size() == parameters.size(), "adamw: expected lists of one length");
    for (size_t i = 0; i < list.size(); ++i) {
      TORCH_CHECK(list[i].sizes() == parameters[i].sizes() && list[i].scalar_type() == parameters[i].scalar_type() &&
                      list[i].is_contiguous(),
                  "adamw: tensor ", i, " is ", list[i].sizes(), " where the parameter is ", parameters[i].sizes());
    }
  }
  if (parameters.empty()) return;
  const double updates = static_cast<double>(step.update);
  const double first_correction = 1.0 - std::pow(step.beta1, updates);
  const double second_correction = 1.0 - std::pow(step.beta2, updates);
  const auto all = stretches(parameters);
  AT_DISPATCH_FLOATING_TYPES(parameters[0].scalar_type(), "adamw", [&] {
    const rows::AdamW<scalar_t> factors{.gradient_scale = static_cast<scalar_t>(step.gradient_scale),
                                        .kept = static_cast<scalar_t>(1.0 - step.rate * step.weight_decay),
                                        .beta1 = static_cast<scalar_t>(step.beta1),
                                        .one_minus_beta1 = static_cast<scalar_t>(1.0 - step.beta1),
                                        .beta2 = static_cast<scalar_t>(step.beta2),
                                        .one_minus_beta2 = static_cast<scalar_t>(1.0 - step.beta2),
                                        .rate = static_cast<scalar_t>(step.rate / first_correction),
                                        .root_factor = static_cast<scalar_t>(1.0 / std::sqrt(second_correction)),
                                        .epsilon = static_cast<scalar_t>(step.epsilon)};
    parallel_tasks(static_cast<int64_t>(all.size()), [&](int64_t i) {
      const auto& [tensor, first, count] = all[static_cast<size_t>(i)];
      rows::adamw(parameters[tensor].mutable_data_ptr<scalar_t>() + first,
                  gradients[tensor].const_data_ptr<scalar_t>() + first,
                  first_moments[tensor].mutable_data_ptr<scalar_t>() + first,
                  second_moments[tensor].mutable_data_ptr<scalar_t>() + first, count, factors);
    });
  });
}

double sum_of_squares(at::TensorList tensors) {
  const auto all = stretches(tensors);
  std::vector<double> sums(all.size());
  parallel_tasks(static_cast<int64_t>(all.size()), [&](int64_t i) {
    const auto& [tensor, first, count] = all[static_cast<size_t>(i)];
    AT_DISPATCH_FLOATING_TYPES(tensors[tensor].scalar_type(), "sum_of_squares",
                               [&, first = first, count = count, tensor = tensor] {
                                 sums[static_cast<size_t>(i)] =
                                     rows::sum_of_squares(tensors[tensor].const_data_ptr<scalar_t>() + first, count);
                               });
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace dlcm
