#include "dlcm/train/optimizer.h"

#include "dlcm/util/error.h"

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>

#include <array>

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
    Group group{group_settings(config, role), {}, {}, {}, {}, {}};
    for (const auto& entry : model.named_parameters()) {
      if (role_of(entry.key()) != role) continue;
      group.names.push_back(entry.key());
      group.parameters.push_back(entry.value());
      group.first_moments.push_back(at::zeros_like(entry.value()));
      group.second_moments.push_back(at::zeros_like(entry.value()));
      group.updates.push_back(at::zeros({}, at::kFloat));
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

double AdamW::gradient_norm() const {
  return at::stack(at::_foreach_norm(gradients())).to(at::kDouble).norm().item<double>();
}

void AdamW::update(double schedule_factor, double gradient_norm) {
  at::NoGradGuard no_gradient;
  if (gradient_norm > config_.gradient_clip) at::_foreach_mul_(gradients(), config_.gradient_clip / gradient_norm);
  for (auto& group : groups_) {
    std::vector<at::Tensor> group_gradients;
    for (const auto& parameter : group.parameters) group_gradients.push_back(parameter.grad());
    at::_foreach_add_(group.updates, 1);
    at::_fused_adamw_(group.parameters, group_gradients, group.first_moments, group.second_moments,
                      /*max_exp_avg_sqs=*/{}, group.updates, group.settings.rate * schedule_factor, config_.beta1,
                      config_.beta2, group.settings.weight_decay, group.settings.epsilon, /*amsgrad=*/false,
                      /*maximize=*/false);
  }
}

SafeTensors AdamW::state() const {
  SafeTensors state;
  for (const auto& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i) {
      state.tensors[group.names[i] + ".first_moment"] = group.first_moments[i];
      state.tensors[group.names[i] + ".second_moment"] = group.second_moments[i];
      state.tensors[group.names[i] + ".updates"] = group.updates[i];
    }
  }
  return state;
}

void AdamW::load(const SafeTensors& state) {
  at::NoGradGuard no_gradient;
  for (auto& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i) {
      for (auto [suffix, target] : {std::pair{".first_moment", &group.first_moments[i]},
                                    std::pair{".second_moment", &group.second_moments[i]},
                                    std::pair{".updates", &group.updates[i]}}) {
        const auto found = state.tensors.find(group.names[i] + suffix);
        if (found == state.tensors.end() || found->second.sizes() != target->sizes()) {
          throw Error("the optimiser state has no {}{} of the model's shape: it belongs to another model; resume with "
                      "the configuration it was saved with",
                      group.names[i], suffix);
        }
        target->copy_(found->second);
      }
    }
  }
}

}  // namespace dlcm
