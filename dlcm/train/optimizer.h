// AdamW with the groups of decoupled muP: rates, epsilon and decay per parameter role (SPEC sections 4 and 5).
#pragma once

#include "dlcm/config/config.h"
#include "dlcm/io/tensor_slices.h"
#include "dlcm/model/language_model.h"
#include "dlcm/model/parameters.h"
#include "dlcm/train/buckets.h"

#include <map>
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
  // Keeps the state of these elements of each parameter alone, and updates them (train/gradients.h).
  AdamW(LanguageModel& model, const Config& config, const std::vector<ElementRange>& owned);

  // One update of the owned elements with their gradients (Gradients::values), scaled down to `gradient_clip` where the
  // norm of all gradients is above it.
  void update(double schedule_factor, double gradient_norm, const std::vector<at::Tensor>& gradients);

  // Moments by parameter name, and the update count: what the whole state looks like, and the owned pieces of it.
  std::map<std::string, TensorShape> state_shapes() const;
  std::vector<TensorSlice> state() const;
  // Reads the owned pieces. Throws Error where a moment is missing or has another shape.
  void load(const MappedSafeTensors& state);

 private:
  // The owned elements of one parameter.
  struct Piece {
    std::string name;
    size_t parameter = 0;  // in the model's order
    std::vector<int64_t> sizes;
    ElementRange range;
    at::Tensor weights, first_moment, second_moment;  // flat
  };
  struct Group {
    GroupSettings settings;
    std::vector<Piece> pieces;
  };
  OptimizerConfig config_;
  std::vector<Group> groups_;
  int64_t updates_ = 0;
};

}  // namespace dlcm
