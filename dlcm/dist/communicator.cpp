#include "dlcm/dist/communicator.h"

#include <algorithm>
#include <cstring>

namespace dlcm {
namespace {

struct Done final : PendingCollective {
  void wait() override {}
};

// The tensors of one type end to end, with zeros behind that make the length a multiple of `parts`.
at::Tensor flattened(const std::vector<at::Tensor>& tensors, int64_t parts) {
  int64_t size = 0;
  for (const auto& tensor : tensors) {
    TORCH_CHECK(tensor.scalar_type() == tensors[0].scalar_type(), "all_reduce_sum: tensors of several types");
    size += tensor.numel();
  }
  auto flat = at::zeros({(size + parts - 1) / parts * parts}, tensors[0].options().requires_grad(false));
  int64_t first = 0;
  for (const auto& tensor : tensors) {
    flat.narrow(0, first, tensor.numel()).copy_(tensor.detach().reshape({-1}));
    first += tensor.numel();
  }
  return flat;
}

}  // namespace

void Communicator::all_reduce_sum(const std::vector<at::Tensor>& tensors) {
  if (world_size() == 1 || tensors.empty()) return;
  const at::NoGradGuard no_gradient;
  const auto flat = flattened(tensors, world_size());
  reduce_scatter_sum(flat)->wait();
  all_gather(flat)->wait();
  int64_t first = 0;
  for (const auto& tensor : tensors) {
    tensor.detach().copy_(flat.narrow(0, first, tensor.numel()).view(tensor.sizes()));
    first += tensor.numel();
  }
}

at::Tensor Communicator::all_gather_values(const std::vector<double>& values) {
  const auto size = static_cast<int64_t>(values.size());
  auto all = at::zeros({world_size(), size}, at::kDouble);
  std::copy(values.begin(), values.end(), all.mutable_data_ptr<double>() + rank() * size);
  if (world_size() > 1 && size > 0) all_gather(all)->wait();
  return all;
}

std::vector<std::string> Communicator::all_gather_text(const std::string& text) {
  if (world_size() == 1) return {text};
  const auto sizes = all_gather_values({static_cast<double>(text.size())});
  const auto longest = std::max<int64_t>(1, static_cast<int64_t>(sizes.max().item<double>()));
  const auto bytes = at::zeros({world_size(), longest}, at::kByte);
  auto* const begin = reinterpret_cast<char*>(bytes.mutable_data_ptr<uint8_t>());
  std::memcpy(begin + rank() * longest, text.data(), text.size());
  all_gather(bytes)->wait();
  std::vector<std::string> all;
  for (int64_t i = 0; i < world_size(); ++i) {
    all.emplace_back(begin + i * longest, static_cast<size_t>(sizes[i][0].item<double>()));
  }
  return all;
}

void Communicator::broadcast(const std::vector<at::Tensor>& tensors) {
  if (rank() != 0) {
    for (const auto& tensor : tensors) tensor.detach().zero_();
  }
  all_reduce_sum(tensors);
}

bool Communicator::any(bool value) { return all_gather_values({value ? 1.0 : 0.0}).max().item<double>() > 0.0; }

void Communicator::barrier() { any(false); }

std::string SingleProcess::name_of(int64_t) const { return "the only rank"; }

Pending SingleProcess::reduce_scatter_sum(const at::Tensor&) { return std::make_shared<Done>(); }

Pending SingleProcess::all_gather(const at::Tensor&) { return std::make_shared<Done>(); }

}  // namespace dlcm
