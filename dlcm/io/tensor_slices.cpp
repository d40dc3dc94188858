#include "dlcm/io/tensor_slices.h"

#include <algorithm>
#include <filesystem>

namespace dlcm {
namespace {

constexpr int64_t kAlignment = 8;
constexpr int64_t kPieceBytes = int64_t{1} << 20;

}  // namespace

void create_safetensors(const std::string& path, const std::map<std::string, TensorShape>& shapes) {
  std::vector<SafeTensorsWriter::Tensor> tensors;
  for (const auto& [name, shape] : shapes) tensors.push_back({name, shape.type, shape.sizes});
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& left, const auto& right) {
    return c10::elementSize(left.type) > c10::elementSize(right.type);
  });
  SafeTensorsWriter writer(path, {}, tensors, kAlignment);
  const std::string zeros(static_cast<size_t>(kPieceBytes), '\0');
  for (const auto& tensor : tensors) {
    for (int64_t missing = tensor.bytes(); missing > 0; missing -= kPieceBytes) {
      writer.append(std::string_view(zeros).substr(0, static_cast<size_t>(std::min(missing, kPieceBytes))));
    }
  }
  writer.close();
}

void write_slices(const std::string& path, const std::vector<TensorSlice>& slices) {
  const MappedSafeTensors whole(path);
  // Tensors lie end to end up to the end of the file.
  const std::byte* end = nullptr;
  for (const auto& [name, tensor] : whole.tensors()) end = std::max(end, tensor.bytes.data() + tensor.bytes.size());
  const auto file_bytes = static_cast<int64_t>(std::filesystem::file_size(path));
  PlacedFile file(path);
  for (const auto& [name, first, values] : slices) {
    const auto& tensor = whole.tensors().at(name);
    const auto host = values.detach().to(at::kCPU).contiguous();
    const int64_t offset = first * static_cast<int64_t>(host.element_size());
    TORCH_CHECK(host.scalar_type() == tensor.type && first >= 0 &&
                    offset + static_cast<int64_t>(host.nbytes()) <= static_cast<int64_t>(tensor.bytes.size()),
                "write_slices: ", name, " from ", first, " on is ", host.sizes());
    file.write(file_bytes - (end - tensor.bytes.data()) + offset, host.const_data_ptr(),
               static_cast<int64_t>(host.nbytes()));
  }
  file.close();
}

at::Tensor read_slice(const MappedSafeTensors& file, const std::string& name, int64_t first, int64_t count) {
  const auto& tensor = file.tensors().at(name);
  const auto element_bytes = static_cast<int64_t>(c10::elementSize(tensor.type));
  TORCH_CHECK(first >= 0 && (first + count) * element_bytes <= static_cast<int64_t>(tensor.bytes.size()),
              "read_slice: ", count, " elements from ", first, " of ", name);
  auto values = at::empty(at::IntArrayRef{count}, at::TensorOptions().dtype(tensor.type));
  std::copy_n(tensor.bytes.data() + first * element_bytes, count * element_bytes,
              static_cast<std::byte*>(values.mutable_data_ptr()));
  return values;
}

}  // namespace dlcm
