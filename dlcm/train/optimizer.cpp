#include "dlcm/train/optimizer.h"

#include "dlcm/ops/adamw.h"
#include "dlcm/util/error.h"

#include <array>
#include <cmath>

namespace dlcm {

GroupSettings group_settings(const Config& config, ParameterRole role) {
  const auto& optimizer = config.optimizer;
  switch (role) {
    case ParameterRole::token_matrix: {
      const double s = config.token_multiplier();
      return {optimizer.token_rate / s, optimizer.epsilon / s, optimizer.weight_decay};
    }
    case ParameterRole::concept_matrix: {
      const double s = config.concept_multiplier();
      return {optimizer.concept_rate / s, optimizer.epsilon / s, optimizer.weight_decay};
    }
    case ParameterRole::embedding:
      return {optimizer.embedding_rate, optimizer.epsilon, 0.0};
    case ParameterRole::head:
      return {optimizer.head_rate, optimizer.epsilon, 0.0};
    case ParameterRole::gain:
      return {optimizer.gain_rate, optimizer.epsilon, 0.0};
  }
  TORCH_CHECK(false, "unknown parameter role");
}

AdamW::AdamW(LanguageModel& model, const Config& config) : config_(config.optimizer) {
  constexpr std::array kRoles{ParameterRole::token_matrix, ParameterRole::concept_matrix, ParameterRole::embedding,
                              ParameterRole::head, ParameterRole::gain};
  for (const auto role : kRoles) {
    Group group{group_settings(config, role), {}, {}, {}, {}};
    for (const auto& entry : model.named_parameters()) {
      if (role_of(entry.key()) != role) continue;
      group.names.push_back(entry.key());
      group.parameters.push_back(entry.value());
      group.first_moments.push_back(at::zeros_like(entry.value()));
      group.second_moments.push_back(at::zeros_like(entry.value()));
    }
    if (!group.names.empty()) groups_.push_back(std::move(group));
  }
}

std::vector<at::Tensor> AdamW::gradients() const {
  std::vector<at::Tensor> gradients;
  for (const auto& group : groups_) {
    for (const auto& parameter : group.parameters) gradients.push_back(parameter.grad());
  }
  return gradients;
}

double AdamW::gradient_norm() const { return std::sqrt(sum_of_squares(gradients())); }

void AdamW::update(double schedule_factor, double gradient_norm) {
  at::NoGradGuard no_gradient;
  ++updates_;
  const double scale = gradient_norm > config_.gradient_clip ? config_.gradient_clip / gradient_norm : 1.0;
  for (auto& group : groups_) {
    std::vector<at::Tensor> group_gradients;
    for (const auto& parameter : group.parameters) group_gradients.push_back(parameter.grad());
    adamw(group.parameters, group_gradients, group.first_moments, group.second_moments,
          {.rate = group.settings.rate * schedule_factor,
           .beta1 = config_.beta1,
           .beta2 = config_.beta2,
           .epsilon = group.settings.epsilon,
           .weight_decay = group.settings.weight_decay,
           .update = updates_,
           .gradient_scale = scale});
  }
}

SafeTensors AdamW::state() const {
  SafeTensors state;
  for (const auto& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i) {
      state.tensors[group.names[i] + ".first_moment"] = group.first_moments[i];
      state.tensors[group.names[i] + ".second_moment"] = group.second_moments[i];
    }
  }
  state.tensors["updates"] = at::tensor({updates_}, at::kLong);
  return state;
}

void AdamW::load(const SafeTensors& state) {
  at::NoGradGuard no_gradient;
  const auto find = [&](const std::string& name, at::IntArrayRef sizes) {
    const auto found = state.tensors.find(name);
    if (found == state.tensors.end() || found->second.sizes() != sizes) {
      throw Error(
          "the optimiser state has no {} of the model's shape: it belongs to another model; resume with the "
          "configuration it was saved with",
          name);
    }
    return found->second;
  };
  updates_ = find("updates", {1}).item<int64_t>();
  for (auto& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i) {
      auto &first = group.first_moments[i], &second = group.second_moments[i];
      first.copy_(find(group.names[i] + ".first_moment", first.sizes()));
      second.copy_(find(group.names[i] + ".second_moment", second.sizes()));
    }
  }
}

}  // namespace dlcm
