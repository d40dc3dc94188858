#include "dlcm/train/gradients.h"

#include "dlcm/ops/adamw.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/graph_task.h>

#include <cmath>

namespace dlcm {
namespace {

// Buckets of sharding "gradients" that may be there at once; the next one waits for the oldest to be reduced.
constexpr int64_t kMostFlats = 4;

std::vector<int64_t> sizes_of(const std::vector<at::Tensor>& parameters) {
  std::vector<int64_t> sizes;
  for (const auto& parameter : parameters) sizes.push_back(parameter.numel());
  return sizes;
}

Buckets layout_of(const std::vector<at::Tensor>& parameters, int64_t world_size, int64_t bucket_elements) {
  return bucket_elements > 0 ? Buckets(sizes_of(parameters), world_size, bucket_elements)
                             : Buckets(sizes_of(parameters), world_size);
}

}  // namespace

Gradients::Gradients(LanguageModel& model, Communicator& communicator, Sharding sharding, int64_t bucket_elements)
    : communicator_(communicator),
      sharding_(communicator.world_size() > 1 ? sharding : Sharding::none),
      parameters_(model.parameters()),
      layout_(layout_of(parameters_, communicator.world_size(), bucket_elements)) {
  const at::NoGradGuard no_gradient;
  for (size_t parameter = 0; parameter < parameters_.size(); ++parameter) {
    owned_.push_back(sharding_ == Sharding::none ? ElementRange{0, parameters_[parameter].numel()}
                                                 : layout_.owned(parameter, communicator.rank()));
    hooks_.push_back(parameters_[parameter].register_hook(
        [this, parameter](const at::Tensor& gradient) { return take(parameter, gradient); }));
  }
  missing_.resize(parameters_.size());
  if (!several_ranks()) return;
  buckets_.resize(layout_.size());
  for (size_t i = 0; i < buckets_.size(); ++i) {
    auto& bucket = buckets_[i];
    const auto options = parameters_[0].options().requires_grad(false);
    if (sharding_ != Sharding::gradients) {
      bucket.flat = at::zeros({layout_.elements(i)}, options);
      bucket.part = bucket.flat.narrow(0, communicator.rank() * layout_.part_elements(i), layout_.part_elements(i));
    } else {
      bucket.part = at::zeros({layout_.part_elements(i)}, options);
    }
    if (sharding_ == Sharding::none) continue;
    bucket.weights = at::zeros({layout_.elements(i)}, options);
    for (const size_t parameter : layout_.parameters(i)) {
      auto& weight = parameters_[parameter];
      const auto place = place_in(bucket.weights, parameter);
      place.copy_(weight);
      weight.set_data(place);
    }
  }
}

Gradients::~Gradients() {
  for (size_t parameter = 0; parameter < hooks_.size(); ++parameter)
    parameters_[parameter].remove_hook(hooks_[parameter]);
}

at::Tensor Gradients::place_in(const at::Tensor& flat, size_t parameter) const {
  const auto& like = parameters_[parameter];
  return flat.narrow(0, layout_.place(parameter).begin, like.numel()).view(like.sizes());
}

void Gradients::begin() {
  for (const auto& parameter : parameters_) parameter.mutable_grad().reset();
  first_round_ = true;
}

void Gradients::begin_round(int64_t num_parts, bool last) {
  slots_.assign(parameters_.size(), std::vector<at::Tensor>(static_cast<size_t>(num_parts)));
  missing_.assign(parameters_.size(), num_parts);
  reduces_ = several_ranks() && (last || sharding_ == Sharding::gradients);
  next_launched_ = next_retired_ = 0;
  flats_ = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) buckets_[i].missing = static_cast<int64_t>(layout_.parameters(i).size());
}

void Gradients::backward(const at::Tensor& loss, int64_t part) {
  int task = -1;
  loss.register_hook([&](const at::Tensor&) {
    task = torch::autograd::get_current_graph_task_id();
    const std::lock_guard lock(mutex_);
    part_of_task_[task] = part;
  });
  torch::autograd::grad({loss}, parameters_, {}, {}, false, /*allow_unused=*/true);
  const std::lock_guard lock(mutex_);
  part_of_task_.erase(task);
}

// What the backward pass calls with each parameter's gradient; what it gives back takes the gradient's place, so that
// nothing else keeps it. A pass within the pass (activation checkpointing) is none of ours.
at::Tensor Gradients::take(size_t parameter, const at::Tensor& gradient) {
  {
    const std::lock_guard lock(mutex_);
    const auto part = part_of_task_.find(torch::autograd::get_current_graph_task_id());
    if (part == part_of_task_.end()) return {};
    slots_[parameter][static_cast<size_t>(part->second)] = gradient.detach();
    if (--missing_[parameter] > 0) return at::zeros({}, gradient.options()).expand(gradient.sizes());
  }
  sum_parts(parameter);
  return at::zeros({}, gradient.options()).expand(gradient.sizes());
}

// Adds up what the parts have found for a parameter, in their order, to what earlier rounds have found.
void Gradients::sum_parts(size_t parameter) {
  const at::NoGradGuard no_gradient;
  auto& slots = slots_[parameter];
  auto& weight = parameters_[parameter];
  if (!several_ranks()) {
    auto& sum = weight.mutable_grad();
    bool own = sum.defined();  // not a tensor that the backward pass may still read
    for (auto& slot : slots) {
      if (!slot.defined()) continue;
      if (!sum.defined()) {
        sum = std::move(slot);
      } else if (own) {
        sum.add_(slot);
      } else {
        sum = sum + slot;
        own = true;
      }
      slot.reset();
    }
    return;
  }
  const size_t index = layout_.place(parameter).bucket;
  auto& bucket = buckets_[index];
  if (sharding_ == Sharding::gradients) {
    const std::lock_guard lock(mutex_);
    if (!bucket.flat.defined()) {
      while (flats_ >= kMostFlats && next_retired_ < next_launched_) retire(next_retired_++);
      bucket.flat = at::zeros({layout_.elements(index)}, bucket.part.options());
      ++flats_;
    }
  }
  const auto sum = place_in(bucket.flat, parameter);
  bool begun = !first_round_ && sharding_ != Sharding::gradients;
  for (auto& slot : slots) {
    if (!slot.defined()) continue;
    if (begun) {
      sum.add_(slot);
    } else {
      sum.copy_(slot);
    }
    begun = true;
    slot.reset();
  }
  if (!begun) sum.zero_();
  const std::lock_guard lock(mutex_);
  --bucket.missing;
  if (reduces_) launch_full_buckets();
}

// In the same order on every rank. The caller holds the lock.
void Gradients::launch_full_buckets() {
  for (; next_launched_ < buckets_.size() && buckets_[next_launched_].missing == 0; ++next_launched_) {
    auto& bucket = buckets_[next_launched_];
    bucket.reducing = communicator_.reduce_scatter_sum(bucket.flat);
    if (sharding_ == Sharding::none) bucket.sharing = communicator_.all_gather(bucket.flat);
  }
  communicator_.note_progress();
}

// Waits for a bucket's sum. The caller holds the lock.
void Gradients::retire(size_t index) {
  auto& bucket = buckets_[index];
  bucket.reducing->wait();
  bucket.reducing.reset();
  if (bucket.sharing) bucket.sharing->wait();
  bucket.sharing.reset();
  if (sharding_ != Sharding::gradients) return;
  const auto own = bucket.flat.narrow(0, communicator_.rank() * bucket.part.numel(), bucket.part.numel());
  if (first_round_) {
    bucket.part.copy_(own);
  } else {
    bucket.part.add_(own);
  }
  bucket.flat.reset();
  --flats_;
}

void Gradients::end_round() {
  const at::NoGradGuard no_gradient;
  // Parameters that a part has no gradient for, and rounds without parts.
  for (size_t i = 0; i < layout_.size(); ++i) {
    for (const size_t parameter : layout_.parameters(i)) {
      if (missing_[parameter] > 0 || slots_[parameter].empty()) sum_parts(parameter);
    }
  }
  {
    const std::lock_guard lock(mutex_);
    if (reduces_) {
      while (next_retired_ < buckets_.size()) retire(next_retired_++);
    }
  }
  first_round_ = false;
}

void Gradients::finish() {
  for (size_t parameter = 0; parameter < parameters_.size(); ++parameter) {
    auto& gradient = parameters_[parameter].mutable_grad();
    if (!several_ranks()) {
      if (!gradient.defined()) gradient = at::zeros_like(parameters_[parameter]);
    } else if (sharding_ == Sharding::none) {
      gradient = place_in(buckets_[layout_.place(parameter).bucket].flat, parameter);
    }
  }
}

std::vector<at::Tensor> Gradients::values() const {
  std::vector<at::Tensor> values;
  for (size_t parameter = 0; parameter < parameters_.size(); ++parameter) {
    if (sharding_ == Sharding::none) {
      values.push_back(parameters_[parameter].grad().reshape({-1}));
      continue;
    }
    values.push_back(in_part(parameter));
  }
  return values;
}

at::Tensor Gradients::in_part(size_t parameter) const {
  const auto [index, begin] = layout_.place(parameter);
  const auto [first, count] = layout_.owned(parameter, communicator_.rank());
  const auto& part = buckets_[index].part;
  return count == 0 ? part.narrow(0, 0, 0)
                    : part.narrow(0, begin + first - communicator_.rank() * part.numel(), count);
}

double Gradients::norm() const {
  if (!several_ranks()) return std::sqrt(sum_of_squares(values()));
  std::vector<at::Tensor> parts;
  for (size_t parameter = 0; parameter < parameters_.size(); ++parameter) parts.push_back(in_part(parameter));
  auto sum = at::tensor({sum_of_squares(parts)}, at::kDouble);
  communicator_.all_reduce_sum({sum});
  return std::sqrt(sum.item<double>());
}

void Gradients::share_parameters() {
  if (sharding_ == Sharding::none) return;
  for (auto& bucket : buckets_) bucket.sharing = communicator_.all_gather(bucket.weights);
  for (auto& bucket : buckets_) {
    bucket.sharing->wait();
    bucket.sharing.reset();
  }
}

}  // namespace dlcm
