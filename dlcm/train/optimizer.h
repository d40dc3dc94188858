// AdamW with the groups of decoupled muP: rates, epsilon and decay per parameter role (SPEC sections 4 and 5).
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/io/safetensors.h"
#include "dlcm/model/language_model.h"
#include "dlcm/model/parameters.h"

#include <string>
#include <vector>

namespace dlcm {

// What one role's parameters are updated with, before the schedule's factor.
struct GroupSettings {
  double rate = 0.0;
  double epsilon = 0.0;
  double weight_decay = 0.0;
};
GroupSettings group_settings(const Config& config, ParameterRole role);

class AdamW {
 public:
  AdamW(LanguageModel& model, const Config& config);

  // Every parameter's gradient, group by group.
  std::vector<at::Tensor> gradients() const;

  // Global L2 norm of the gradients; not finite where one of them is not.
  double gradient_norm() const;

  // One update with gradients scaled down to `gradient_clip` where their norm is above it.
  void update(double schedule_factor, double gradient_norm);

  // Moments by parameter name, and the update count.
  SafeTensors state() const;
  // Throws Error where a moment is missing or has another shape.
  void load(const SafeTensors& state);

 private:
  struct Group {
    GroupSettings settings;
    std::vector<std::string> names;
    std::vector<at::Tensor> parameters, first_moments, second_moments;
  };
  OptimizerConfig config_;
  std::vector<Group> groups_;
  int64_t updates_ = 0;
};

}  // namespace dlcm
