#include "dlcm/train/optimizer.h"

#include "dlcm/ops/adamw.h"
#include "dlcm/util/error.h"

#include <array>
#include <utility>

namespace dlcm {
namespace {

constexpr const char* kFirstMoment = ".first_moment";
constexpr const char* kSecondMoment = ".second_moment";
constexpr const char* kUpdates = "updates";

}  // namespace

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

AdamW::AdamW(LanguageModel& model, const Config& config)
    : AdamW(model, config, [&] {
        std::vector<ElementRange> whole;
        for (const auto& parameter : model.parameters()) whole.push_back({0, parameter.numel()});
        return whole;
      }()) {}

AdamW::AdamW(LanguageModel& model, const Config& config, const std::vector<ElementRange>& owned)
    : config_(config.optimizer) {
  constexpr std::array kRoles{ParameterRole::token_matrix, ParameterRole::concept_matrix, ParameterRole::embedding,
                              ParameterRole::head, ParameterRole::gain};
  const auto parameters = model.named_parameters();
  TORCH_CHECK(owned.size() == parameters.size(), "AdamW: ", owned.size(), " ranges of ", parameters.size(),
              " parameters");
  const at::NoGradGuard no_gradient;
  for (const auto role : kRoles) {
    Group group{group_settings(config, role), {}};
    size_t number = 0;
    for (const auto& entry : parameters) {
      const size_t parameter = number++;
      if (role_of(entry.key()) != role) continue;
      const auto range = owned[parameter];
      const auto weights = entry.value().detach().view({-1}).narrow(0, range.first, range.count);
      group.pieces.push_back({entry.key(), parameter, entry.value().sizes().vec(), range, weights,
                              at::zeros_like(weights), at::zeros_like(weights)});
    }
    if (!group.pieces.empty()) groups_.push_back(std::move(group));
  }
}

void AdamW::update(double schedule_factor, double gradient_norm, const std::vector<at::Tensor>& gradients) {
  at::NoGradGuard no_gradient;
  ++updates_;
  const double scale = gradient_norm > config_.gradient_clip ? config_.gradient_clip / gradient_norm : 1.0;
  for (auto& group : groups_) {
    std::vector<at::Tensor> weights, own_gradients, first_moments, second_moments;
    for (const auto& piece : group.pieces) {
      weights.push_back(piece.weights);
      own_gradients.push_back(gradients[piece.parameter]);
      first_moments.push_back(piece.first_moment);
      second_moments.push_back(piece.second_moment);
    }
    adamw(weights, own_gradients, first_moments, second_moments,
          {.rate = group.settings.rate * schedule_factor,
           .beta1 = config_.beta1,
           .beta2 = config_.beta2,
           .epsilon = group.settings.epsilon,
           .weight_decay = group.settings.weight_decay,
           .update = updates_,
           .gradient_scale = scale});
  }
}

std::map<std::string, TensorShape> AdamW::state_shapes() const {
  std::map<std::string, TensorShape> shapes{{kUpdates, {{1}, at::kLong}}};
  for (const auto& group : groups_) {
    for (const auto& piece : group.pieces) {
      const TensorShape shape{piece.sizes, piece.weights.scalar_type()};
      shapes[piece.name + kFirstMoment] = shapes[piece.name + kSecondMoment] = shape;
    }
  }
  return shapes;
}

std::vector<TensorSlice> AdamW::state() const {
  std::vector<TensorSlice> slices{{kUpdates, 0, at::tensor({updates_}, at::kLong)}};
  for (const auto& group : groups_) {
    for (const auto& piece : group.pieces) {
      slices.push_back({piece.name + kFirstMoment, piece.range.first, piece.first_moment});
      slices.push_back({piece.name + kSecondMoment, piece.range.first, piece.second_moment});
    }
  }
  return slices;
}

void AdamW::load(const MappedSafeTensors& state) {
  const at::NoGradGuard no_gradient;
  const auto read = [&](const std::string& name, const std::vector<int64_t>& sizes, int64_t first, int64_t count) {
    const auto found = state.tensors().find(name);
    if (found == state.tensors().end() || found->second.shape != sizes) {
      throw Error(
          "the optimiser state has no {} of the model's shape: it belongs to another model; resume with the "
          "configuration it was saved with",
          name);
    }
    return read_slice(state, name, first, count);
  };
  updates_ = read(kUpdates, {1}, 0, 1).item<int64_t>();
  for (auto& group : groups_) {
    for (auto& piece : group.pieces) {
      const auto [first, count] = piece.range;
      piece.first_moment.copy_(read(piece.name + kFirstMoment, piece.sizes, first, count));
      piece.second_moment.copy_(read(piece.name + kSecondMoment, piece.sizes, first, count));
    }
  }
}

}  // namespace dlcm
